"""Any sender: bytes in, bytes kept."""

from chalicelib.sources import Source

SOURCE = Source(name="generic")
