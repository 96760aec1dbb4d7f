"""moto's S3 as one role may use it: what the role's policy does not allow is refused.

    with guarded_s3(policy) as s3: ...

It is another server for the objects that are on the server of `moto_endpoint`, and remembers every
request that it was sent.
"""

import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs

from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import WSGIRequestHandler, make_server
from werkzeug.wrappers import Response

from support.policies import allows

Policy = dict[str, Any]
# https://docs.aws.amazon.com/AmazonS3/latest/API/API_Operations_Amazon_Simple_Storage_Service.html
OF_OBJECTS = {
    "GET": "s3:GetObject",
    "HEAD": "s3:GetObject",
    "PUT": "s3:PutObject",
    "DELETE": "s3:DeleteObject",
}


@dataclass
class GuardedS3:
    """The server, and what it was asked for: actions with the keys they were about."""

    endpoint: str
    allowed: list[tuple[str, str]] = field(default_factory=list)
    refused: list[tuple[str, str]] = field(default_factory=list)
    signed_by: set[tuple[str, str]] = field(default_factory=set)  # access key and region

    def keys(self, action: str) -> list[str]:
        """What an action was allowed on, in order."""
        return [key for done, key in self.allowed if done == action]


@contextmanager
def guarded_s3(
    policy: Policy, after: Callable[[GuardedS3], None] = lambda s3: None
) -> Iterator[GuardedS3]:
    """`after` is called after each request that was served."""
    moto = DomainDispatcherApplication(create_backend_app)
    lock = threading.Lock()

    def serve(environ: dict[str, Any], start_response: Callable[..., Any]) -> Any:
        action, arn = _asked(environ)
        key = arn.partition(":::")[2].partition("/")[2]
        # https://docs.aws.amazon.com/AmazonS3/latest/API/sigv4-auth-using-authorization-header.html
        scope = re.search(r"Credential=([^/]+)/\d+/([^/]+)/", environ.get("HTTP_AUTHORIZATION", ""))
        with lock:
            s3.signed_by.add((scope[1], scope[2]) if scope else ("", ""))
            is_allowed = allows(policy, action, arn)
            (s3.allowed if is_allowed else s3.refused).append((action, key))
        if not is_allowed:
            error = "<Error><Code>AccessDenied</Code></Error>"
            return Response(error, 403, mimetype="application/xml")(environ, start_response)
        response = moto(environ, start_response)
        with lock:
            after(s3)
        return response

    class Quiet(WSGIRequestHandler):
        protocol_version = "HTTP/1.1"

        def log(self, *_: Any) -> None:
            """Say nothing."""

    server = make_server("127.0.0.1", 0, serve, threaded=True, request_handler=Quiet)
    s3 = GuardedS3(f"http://127.0.0.1:{server.server_port}")
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield s3
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def _asked(environ: dict[str, Any]) -> tuple[str, str]:
    """Action and ARN of a request, path-style; an action that nobody has where it is another."""
    bucket, _, key = environ["PATH_INFO"].lstrip("/").partition("/")
    query = parse_qs(environ.get("QUERY_STRING", ""), keep_blank_values=True)
    if key and not query.keys() - {"x-id", "versionId"}:
        version = "Version" if "versionId" in query else ""
        return OF_OBJECTS[environ["REQUEST_METHOD"]] + version, f"arn:aws:s3:::{bucket}/{key}"
    if not key and environ["REQUEST_METHOD"] == "GET" and "versions" in query:
        return "s3:ListBucketVersions", f"arn:aws:s3:::{bucket}"
    if not key and environ["REQUEST_METHOD"] == "GET" and "list-type" in query:
        return "s3:ListBucket", f"arn:aws:s3:::{bucket}"
    return f"s3:Other {environ['REQUEST_METHOD']} {sorted(query)}", f"arn:aws:s3:::{bucket}/{key}"
