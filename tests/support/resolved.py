"""`hookshelf`, in a process that finds hosts of a domain on this machine: what DNS would say.

The end of such hosts' names is in RESOLVED_SUFFIX, the port to take instead in RESOLVED_PORT.
"""

import os
import socket
from typing import Any

from hookshelf.__main__ import main

_look_up = socket.getaddrinfo


def look_up(host: Any, port: Any, *args: Any, **options: Any) -> Any:
    """Of a host of the domain our own address and port, of any other what the system says."""
    if isinstance(host, str) and host.endswith(os.environ["RESOLVED_SUFFIX"]):
        host, port = "127.0.0.1", int(os.environ["RESOLVED_PORT"])
    return _look_up(host, port, *args, **options)


if __name__ == "__main__":
    socket.getaddrinfo = look_up
    main()
