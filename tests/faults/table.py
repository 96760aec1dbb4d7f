"""The fault table: what goes wrong, what the sender hears, what is in the store then.

A row is a Case; test_fault_table.py sends it through every entry point in `via`, and where S3 fails
with both of its clients. Add a row here and it is tested, and printed with the others.
"""

import gzip
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from itertools import repeat

from support.canary import TOKEN
from support.faulty_s3 import (
    Fault,
    FaultyS3,
    Request,
    dropped,
    garbage,
    hang,
    lost_answer,
    never_read,
    no_etag,
    reset,
    status,
    stored_in_silence,
    then_closed,
    trickle,
    truncated_body,
    truncated_head,
)

from chalicelib import responses
from chalicelib.responses import MAX_BODY, Response

# Entry points: events of API Gateway for both paths, a direct invoke, and HTTP to the local server.
INPUT, IAM, INVOKE, LOCAL, LOCAL_IAM = "input", "iam", "invoke", "local", "local-iam"
ALL = (INPUT, IAM, INVOKE, LOCAL, LOCAL_IAM)
HTTP = (INPUT, IAM, LOCAL, LOCAL_IAM)
BY_TOKEN = (INPUT, LOCAL)
IN_PROCESS = (INPUT, IAM, INVOKE)  # whose time and settings a test can choose

BODY = b'[{"email": "ada@example.com", "event": "delivered"}]'
APP_SECRET = "an-app-secret-that-only-the-fault-table-uses"
# For IAM every app has to name who may write; `signed` demands a signature, too.
APPS = {
    "shop": {"principals": ["*"]},
    "signed": {
        "principals": ["*"],
        "source": "github",
        "secrets": [APP_SECRET],
        "signature": "require",
    },
    "unresolved": {"principals": ["*"], "source": "github", "secrets": ["env:NO_SUCH_VARIABLE"]},
    "unnamed": {"source": "generic"},
}


@dataclass(frozen=True)
class Case:
    """One row. Whoever is acknowledged was stored: `objects` says what else has to be there."""

    name: str
    response: Response | None = None  # what is heard; None: 200, stored
    via: Sequence[str] = ALL
    s3: Callable[[], Iterable[Fault | None]] | None = None  # what S3 does with each request
    requests: Sequence[int] = ()  # how many S3 may get; empty where nobody knows
    kept: bool = False  # refused, and the bytes are kept all the same
    objects: int | None = None  # in the store; unless given one where acknowledged or kept, else 0
    waits: bool = False  # takes seconds, of which most are waited
    seconds: float = 15  # that the function has
    body: bytes = BODY
    stored_body: bytes | None = None  # where it is not what was sent
    base64: str | None = None  # what an event has instead of the body in base64
    content_type: str | None = "application/json"
    headers: Mapping[str, str] = field(default_factory=dict)
    query: Mapping[str, str | Sequence[str] | None] = field(default_factory=dict)  # None: not there
    method: str = "POST"
    raw: bytes = b""  # the request to the local server as it is; %b is its target
    variables: Mapping[str, str] | None = field(default_factory=lambda: {"validToken": TOKEN})
    environ: Mapping[str, str] = field(default_factory=dict)
    times: int = 1  # that it is sent, at once
    same: bool = True  # each time the same body


def _s3(*faults: Fault | None) -> Callable[[], Iterable[Fault | None]]:
    return lambda: faults


def _for_ever(fault: Fault) -> Callable[[], Iterable[Fault | None]]:
    return lambda: repeat(fault)


def _to_the_first(fault: Fault) -> Callable[[], Iterable[Fault | None]]:
    """The first request for each key fails."""
    seen = set()

    def fail(s3: FaultyS3, request: Request) -> bytes:
        if request.key in seen:
            return s3.serve(request)
        seen.add(request.key)
        return fault(s3, request)

    return _for_ever(fail)


def _query(name: str, query: Mapping[str, str | Sequence[str] | None], response: Response) -> Case:
    return Case(name, response, BY_TOKEN, query=query)


SLOW_DOWN = status(503, "SlowDown")
CONFLICT = status(409, "ConditionalRequestConflict")
BIG = b'"%s"' % (b"x" * (MAX_BODY - 2))
# Of the region that it has: boto3 would sign for another one from then on, as S3 tells the truth.
ELSEWHERE = {"Location": "http://127.0.0.1:9/events/", "x-amz-bucket-region": "us-east-1"}
REFUSED = "http://127.0.0.1:9"  # discard, where nobody listens
# A label of more than 63 letters is no name: no resolver is asked. RFC 1035, section 2.3.4
NO_NAME = f"http://{'x' * 64}.example"

PASSING = {
    "nothing": (),
    "503": (SLOW_DOWN,),
    "503 twice": (SLOW_DOWN,) * 2,
    "503 five times": (SLOW_DOWN,) * 5,
    "500": (status(500, "InternalError"),),
    "501, of a server that knows no conditions": (status(501, "NotImplemented"),),
    "429": (status(429, "TooManyRequests"),),
    "400 RequestTimeout": (status(400, "RequestTimeout"),),
    "409 conflict": (CONFLICT,),
    "409 conflict twice": (CONFLICT,) * 2,
    "dropped": (dropped,),
    "not HTTP": (garbage,),
    "answer lost, then 412": (lost_answer,),
    "answer lost, 503, 409, then 412": (lost_answer, SLOW_DOWN, CONFLICT),
}
WAITING = {"hangs once": (hang,), "stored in silence, then 412": (stored_in_silence,)}
NOT_WHOLE = {
    "reset before it is read": (reset,),
    "200 without an ETag": (no_etag,),
    "200 truncated in its head": (truncated_head,),
    "200 truncated in its body": (truncated_body,),
}
REFUSING = {
    "403 AccessDenied": status(403, "AccessDenied"),
    "403 ExpiredToken": status(403, "ExpiredToken"),
    "403 InvalidAccessKeyId": status(403, "InvalidAccessKeyId"),
    "403 RequestTimeTooSkewed": status(403, "RequestTimeTooSkewed"),
    "403 SignatureDoesNotMatch": status(403, "SignatureDoesNotMatch"),
    "404 NoSuchBucket": status(404, "NoSuchBucket"),
    "400 KMS.DisabledException": status(400, "KMS.DisabledException"),
    "400 BadDigest": status(400, "BadDigest"),
    "400 EntityTooLarge": status(400, "EntityTooLarge"),
    "405 MethodNotAllowed": status(405, "MethodNotAllowed"),
}
REDIRECTING = {
    "301 to another server": status(301, "PermanentRedirect", **ELSEWHERE),
    "307 to another server": status(307, "TemporaryRedirect", **ELSEWHERE),
    "301 that does not say where": status(301, "PermanentRedirect"),  # as S3 in a wrong region
}
LASTING = {
    "503 for ever": SLOW_DOWN,
    "500 for ever": status(500, "InternalError"),
    "409 conflict for ever": CONFLICT,
    "hangs for ever": hang,
    "not HTTP for ever": garbage,
    "dropped for ever": dropped,
    "answers a byte at a time": trickle,
}

OF_THE_STORE = [
    *(Case(n, s3=_s3(*faults), requests=[len(faults) + 1]) for n, faults in PASSING.items()),
    *(Case(n, s3=_s3(*faults), waits=True) for n, faults in WAITING.items()),
    *(Case(n, s3=_s3(*faults)) for n, faults in NOT_WHOLE.items()),
    *(
        Case(n, responses.NOT_STORED, s3=_for_ever(fault), requests=[1])
        for n, fault in REFUSING.items()
    ),
    # Within one attempt boto3 asks the same server once more, for the region it was told.
    *(
        Case(n, responses.NOT_STORED, s3=_for_ever(fault), requests=[1, 2])
        for n, fault in REDIRECTING.items()
    ),
    *(
        Case(n, responses.NOT_STORED, s3=_for_ever(fault), waits=True)
        for n, fault in LASTING.items()
    ),
    Case(
        "does not read 4 MiB",
        responses.NOT_STORED,
        (INPUT,),
        _for_ever(never_read),
        body=BIG,
        waits=True,
    ),
    Case(
        "503, and no time for another attempt",
        responses.NOT_STORED,
        IN_PROCESS,
        _s3(SLOW_DOWN),
        requests=[1],
        seconds=0.5,
    ),
    Case(
        "answer lost, and no time to ask again",
        responses.NOT_STORED,
        IN_PROCESS,
        _s3(lost_answer),
        requests=[1],
        seconds=2.5,
        objects=1,
    ),
    Case("the connection was closed since", s3=_s3(then_closed), times=3, same=False),
    Case("two of the same at once", s3=_s3(), times=2),
    Case("16 at once", s3=_s3(), times=16, same=False),
    Case(
        "16 at once, and 503 to the first request of each",
        None,
        (INPUT, LOCAL),
        _to_the_first(SLOW_DOWN),
        times=16,
        same=False,
    ),
    *(
        Case(name, responses.NOT_STORED, IN_PROCESS, environ=place, seconds=4, waits=True)
        for name, place in {
            "connection refused": {"AWS_ENDPOINT_URL_S3": REFUSED},
            "no such name": {"AWS_ENDPOINT_URL_S3": NO_NAME},
        }.items()
    ),
]

WRONG_TOKENS: dict[str, Mapping[str, str | Sequence[str] | None]] = {
    "no token": {"token": None},
    "an empty token": {"token": ""},
    "a wrong token": {"token": TOKEN[:-1]},
    "a token and a blank": {"token": TOKEN + " "},
    "a token in capitals": {"token": TOKEN.upper()},
    "a token beyond ASCII": {"token": TOKEN + "é"},
    "a token and a NUL": {"token": TOKEN + "\0"},
    "two tokens": {"token": [TOKEN, TOKEN]},
    "two tokens, the second wrong": {"token": [TOKEN, "x"]},
}
WRONG_APPS = {
    "a way up for an app": "../shop",
    "a way up behind an app": "shop/../../x",
    "one of our names for an app": "_rejected",
    "an app and a newline": "shop\n",
    "an app of 51 letters": "a" * 51,
    "an app beyond ASCII": "shöp",
    "a bucket's ARN for an app": "arn:aws:s3:::events",
}
WRONG_BUCKETS = {
    "a bucket that is not allowed": "other",
    "an empty bucket": "",
    "a way up in a bucket": "events/../other",
    "an ARN of another bucket": "arn:aws:s3:us-east-1:123456789012:accesspoint/other",
    "a bucket with one of our names": "events/_rejected",
    "a path of nine segments": "events/1/2/3/4/5/6/7/8/9",
}
NOT_JSON = {
    "a body that is no JSON": b"{",
    "an empty body": b"",
    "NaN": b"[NaN]",
    "100,000 brackets": b"[" * 100_000,
    "JSON in UTF-16": '{"a": 1}'.encode("utf-16"),
    "bytes that are no UTF-8": b'"\xff"',
    "two bodies": b"{} {}",
}
GOOD = {
    "4 MiB": BIG,
    "a BOM": b"\xef\xbb\xbf{}",
    "a lone surrogate, escaped": rb'"\ud800"',
    "5,000 digits": b"1" * 5_000,
    "a name twice": b'{"a":1,"a":2}',
    "white space around": b" \r\n\t[ ] \n",
    "500 levels": b"[" * 500 + b"]" * 500,
}
START = b"POST %b HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
RAW = {
    "chunks": START + b"Transfer-Encoding: chunked\r\n\r\n%x\r\n" % len(BODY) + BODY
    + b"\r\n0\r\n\r\n",
    "Expect: 100-continue": START + b"Expect: 100-continue\r\nContent-Length: %d\r\n\r\n"
    % len(BODY) + BODY,
}  # fmt: skip
MALFORMED = {
    "two lengths": START + b"Content-Length: 2\r\nContent-Length: 1\r\n\r\n[]",
    "a length and chunks": START
    + b"Content-Length: 12\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n[]\r\n0\r\n\r\n",
    "a length below zero": START + b"Content-Length: -2\r\n\r\n[]",
    "no HTTP": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n",
}
CUT = {
    "a body that was cut": START + b"Content-Length: 99\r\n\r\n" + BODY,
    "chunks that were cut": START + b"Transfer-Encoding: chunked\r\n\r\n99\r\n" + BODY,
    "headers that were cut": START + b"Content-Length: 2",
}
NOTHING_HEARD = Response(0, "")  # the connection ends without a word
BAD_REQUEST = responses.fail(400, "Bad Request")
OF_THE_REQUEST = [
    *(_query(name, query, responses.INVALID_TOKEN) for name, query in WRONG_TOKENS.items()),
    Case(
        "a token in the header alone",
        None,
        BY_TOKEN,
        query={"token": None},
        headers={"Authorization": f"Bearer {TOKEN}"},
    ),
    Case(
        "a token, and a Bearer that is another's",
        None,
        BY_TOKEN,
        headers={"Authorization": "Bearer of-another"},
    ),
    Case(
        "a wrong token, and the right one in the header",
        responses.INVALID_TOKEN,
        BY_TOKEN,
        query={"token": "wrong"},
        headers={"Authorization": f"Bearer {TOKEN}"},
    ),
    Case("no app", responses.MISSING_APP, HTTP, query={"app": None}),
    Case("two apps", responses.DUPLICATE_PARAMETER, HTTP, query={"app": ["shop", "shop"]}),
    *(
        Case(name, responses.INVALID_APP, ALL, query={"app": app})
        for name, app in WRONG_APPS.items()
    ),
    *(
        Case(name, responses.BUCKET_NOT_ALLOWED, ALL, query={"bucket": bucket})
        for name, bucket in WRONG_BUCKETS.items()
    ),
    Case(
        "an app that names nobody",
        responses.APP_NOT_ALLOWED,
        (IAM, LOCAL_IAM),
        query={"app": "unnamed"},
    ),
    Case("a query of 8 KB", None, HTTP, query={"x": "x" * 8_000}),
    *(
        Case(f"{method}", responses.METHOD_NOT_ALLOWED, HTTP, method=method)
        for method in ("GET", "HEAD", "OPTIONS", "PUT", "PATCH", "DELETE")
    ),
    *(Case(name, None, ALL, body=body) for name, body in GOOD.items()),
    Case("4 MiB and a byte", responses.TOO_LARGE, ALL, body=BIG + b" "),
    Case("6,000,000 bytes", responses.TOO_LARGE, (INPUT, LOCAL), body=b"x" * 6_000_000),
    *(
        Case(name, responses.NOT_JSON, HTTP, body=body, kept=True)
        for name, body in NOT_JSON.items()
    ),
    Case(
        "no JSON, and no content type",
        responses.NOT_JSON,
        HTTP,
        body=b"{",
        content_type=None,
        kept=True,
    ),
    Case("JSON, and no content type", None, HTTP, content_type=None),
    Case("all bytes", None, ALL, body=bytes(range(256)), content_type="application/octet-stream"),
    Case("an empty text", None, ALL, body=b"", content_type="text/plain"),
    Case("a form", None, ALL, body=b"a=1&a=%31", content_type="application/x-www-form-urlencoded"),
    Case(
        "base64 that is none",
        responses.INVALID_BASE64,
        (INPUT, IAM),
        base64="e3!0=",
    ),
    Case(
        "base64 that is none, invoked",
        responses.fail(400, "body_base64 is not base64"),
        (INVOKE,),
        base64="e3!0=",
    ),
    Case(
        "gzip",
        None,
        (LOCAL,),
        body=gzip.compress(BODY),
        stored_body=BODY,
        headers={"Content-Encoding": "gzip"},
    ),
    Case("gzip that is none", responses.NOT_GZIP, (LOCAL,), headers={"Content-Encoding": "gzip"}),
    *(Case(name, None, (LOCAL,), raw=raw) for name, raw in RAW.items()),
    *(Case(name, BAD_REQUEST, (LOCAL,), raw=raw) for name, raw in MALFORMED.items()),
    *(Case(name, NOTHING_HEARD, (LOCAL,), raw=raw) for name, raw in CUT.items()),
    Case(
        "no signature where one is demanded",
        responses.INVALID_SIGNATURE,
        HTTP,
        query={"app": "signed"},
        kept=True,
    ),
    Case(
        "a forged signature",
        responses.INVALID_SIGNATURE,
        HTTP,
        query={"app": "signed"},
        headers={"X-Hub-Signature-256": "sha256=" + "0" * 64},
        kept=True,
    ),
    Case(
        "a forged signature, and 503 for ever",
        responses.NOT_STORED,
        (INPUT, IAM),
        _for_ever(SLOW_DOWN),
        query={"app": "signed"},
        seconds=4,
        waits=True,
    ),
    Case(
        "no JSON, and the answer of S3 lost",
        responses.NOT_JSON,
        (INPUT, IAM),
        _s3(lost_answer),
        requests=[2],
        body=b"{",
        kept=True,
    ),
]

NO_TOKENS: dict[str, Mapping[str, str] | None] = {
    "null for stage variables": None,
    "no stage variables": {},
    "an empty stage variable": {"validToken": ""},
    "a stage variable of commas": {"validToken": " , ,"},
    "a hash that is none": {"validToken": "sha256:0123"},
    "the hash of nothing": {"validToken": f"sha256:{sha256(b'').hexdigest()}"},
    "an app's variable that is empty": {"validToken": TOKEN, "validToken_shop": ""},
}
WRONG_SETTINGS = {
    "no buckets": ("ARCHIVE_BUCKETS", ""),
    "a bucket that is none": ("ARCHIVE_BUCKETS", "No_Bucket"),
    "a client that is none": ("ARCHIVE_CLIENT", "s4"),
    "an endpoint that is no URL": ("AWS_ENDPOINT_URL_S3", "127.0.0.1"),
    "an owner that is no account": ("ARCHIVE_BUCKET_OWNER", "me"),
    "an apps file that is not there": ("APPS_FILE", "/no/such/file.json"),
}

OF_THE_CONFIGURATION = [
    *(
        Case(name, responses.NO_TOKEN, (INPUT,), variables=variables)
        for name, variables in NO_TOKENS.items()
    ),
    Case(
        "an empty member, and an empty token",
        responses.INVALID_TOKEN,
        (INPUT,),
        variables={"validToken": f"{TOKEN},,x"},
        query={"token": ""},
    ),
    Case(
        "an app's own token, and the stage's is sent",
        responses.INVALID_TOKEN,
        (INPUT,),
        variables={"validToken": TOKEN, "validToken_shop": "another"},
    ),
    *(
        Case(name, responses.wrong_setting(variable), IN_PROCESS, environ={variable: value})
        for name, (variable, value) in WRONG_SETTINGS.items()
    ),
    Case(
        "a secret that cannot be resolved",
        responses.wrong_setting("APPS_FILE"),
        HTTP + (INVOKE,),
        query={"app": "unresolved"},
    ),
]

CASES = [*OF_THE_STORE, *OF_THE_REQUEST, *OF_THE_CONFIGURATION]
