"""Where deliveries are sent: the paths that app.py responds to, and their URLs."""

from __future__ import annotations

INPUT = "/input"
IAM_INPUT = "/iam/input"


def input_url(endpoint: str, path: str = INPUT, **query: str) -> str:
    """The URL of a path, by that of the stage (or of the local server), which ends without `/`."""
    from urllib.parse import urlencode  # 2 ms that receiving is spared

    return f"{endpoint}{path}?{urlencode(query)}"
