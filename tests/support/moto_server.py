"""moto's server on a free port, with one put at a time.

moto looks whether a key is taken and then takes it, without a lock: of two puts with
`If-None-Match: *` at once, both may be told 200. S3 tells one of them 412 or 409
(https://docs.aws.amazon.com/AmazonS3/latest/userguide/conditional-writes.html).
"""

from collections.abc import Iterator
from contextlib import contextmanager
from threading import Lock
from typing import Any

from moto.s3.responses import S3Response
from moto.server import ThreadedMotoServer

_LOCK = Lock()
_put_object = S3Response.put_object


def _one_at_a_time(request: S3Response) -> Any:
    with _LOCK:
        return _put_object(request)


S3Response.put_object = _one_at_a_time  # type: ignore[method-assign]


@contextmanager
def serving() -> Iterator[str]:
    """Serve on a free port of 127.0.0.1; the URL."""
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    try:
        yield f"http://{host}:{port}"
    finally:
        server.stop()
