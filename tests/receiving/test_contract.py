"""What `POST /input` answers: the same to Chalice's test client, API Gateway and plain HTTP."""

import base64
import itertools
import json
from collections.abc import Callable
from datetime import UTC, datetime
from hashlib import sha256
from http.client import HTTPConnection
from pathlib import Path

import boto3
import pytest
from support.api_gateway import Front
from support.loops import for_each
from support.project import CREDENTIALS, TOKEN
from support.ways import Got, Sent, Servers, Way, by_event, event, in_every_way, invoke

from app import app
from chalicelib import responses
from chalicelib.keys import DeliveryKey, RejectedKey, parse_key

pytest_plugins = ["support.ways"]

Send = Callable[..., Got]

OTHER = "another-token-that-only-these-tests-use"
OWN = "a-token-of-one-app-alone"
HASHED = "a-token-the-stage-knows-by-its-hash-alone"


def hashed(token: str) -> str:
    return "sha256:" + sha256(token.encode()).hexdigest()


# How a stage variable can be there without holding a usable token.
UNUSABLE = {
    "empty": "",
    "blank": "  ",
    "comma": ",",
    "no-hash": "sha256:",
    "short-hash": "sha256:abc123",
    "hash-of-nothing": hashed(""),
    "all-of-them": f" ,,sha256:,sha256:xyz, {hashed('')}",
}
VARIABLES = {
    "validToken": TOKEN,
    "validToken_own": OWN,
    "validToken_my__own": OWN,
    "validToken_rotating": f"{TOKEN} , {OTHER}",
    "validToken_hashed": f"sha256:wrong,{hashed(HASHED)},{hashed(OTHER)}",
    **{f"validToken_{name.replace('-', '__')}": value for name, value in UNUSABLE.items()},
}
JSON = {"Content-Type": "application/json"}
TEXT = {"Content-Type": "text/plain"}
OCTETS = {"Content-Type": "application/octet-stream"}
LIMIT = responses.MAX_BODY
RETRY_AFTER = str(responses.RETRY_AFTER)

_numbers = itertools.count()


@pytest.fixture(scope="session")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One folder for all tests, so that they share a server."""
    return tmp_path_factory.mktemp("archive")


@pytest.fixture
def fresh() -> str:
    """An app that no other test delivers to."""
    return f"fresh{next(_numbers)}"


@pytest.fixture
def ask(archive: Path) -> Callable[..., Sent]:
    """A good delivery, but for what is said otherwise; a parameter that is None is left out."""

    def ask(body: bytes = b"{}", *, headers=JSON, method="POST", variables=VARIABLES, **rest):
        stage = {name: rest.pop(name) for name in ("environ", "seconds") if name in rest}
        query = {"token": TOKEN, "app": "shop"} | rest
        pairs = [
            (name, one)
            for name, value in query.items()
            if value is not None
            for one in (value if isinstance(value, list) else [value])
        ]
        default = {"ARCHIVE_FOLDER": str(archive), "ARCHIVE_BUCKETS": "events,shared/public"}
        return Sent(body, pairs, headers, method, variables, **{"environ": default} | stage)

    return ask


@pytest.fixture
def send(way: Way, ask: Callable[..., Sent]) -> Send:
    return lambda *args, **kwargs: way(ask(*args, **kwargs))


@pytest.fixture
def kept(archive: Path) -> Callable[[str], bytes]:
    """The bytes of `<bucket>/<key>`."""
    return lambda name: (archive / name).read_bytes()


@pytest.fixture
def objects(archive: Path) -> Callable[[str], set[str]]:
    """The keys below a prefix of the default bucket."""

    def objects(prefix: str) -> set[str]:
        bucket = archive / "events"
        files = (path for path in (bucket / prefix).rglob("*") if path.is_file())
        return {str(path.relative_to(bucket)) for path in files if path.suffix != ".meta"}

    return objects


def fail(reason: str, **more: str) -> dict[str, str]:
    return {"result": "fail", "reason": reason, **more}


WRONG_TOKEN = fail(responses.INVALID_TOKEN.reason)
NO_TOKEN = fail(responses.NO_TOKEN.reason)
NO_BUCKET = fail(responses.BUCKET_NOT_ALLOWED.reason)


# --- stored


def test_a_delivery_is_stored_before_its_sender_hears_200(send, kept, fresh):
    body = b'[{"event": "delivered"}]'
    before = datetime.now(UTC)
    got = send(body, app=fresh)
    after = datetime.now(UTC)

    key = got.json["key"]
    arrived = parse_key(key).arrived
    assert got.status == 200
    assert got.json == {"result": "success", "bucket": "events", "key": key}
    assert parse_key(key) == DeliveryKey("", fresh, arrived, sha256(body).hexdigest(), "json")
    assert before <= arrived <= after
    assert kept(f"events/{key}") == body


def test_a_delivery_is_stored_in_s3_too(send, s3_environ):
    got = send(b'{"in": "s3"}', environ=s3_environ)

    s3 = boto3.client(
        "s3",
        endpoint_url=s3_environ["AWS_ENDPOINT_URL_S3"],
        region_name="us-east-1",
        aws_access_key_id="testing",
        aws_secret_access_key="testing",
    )
    found = s3.get_object(Bucket=got.json["bucket"], Key=got.json["key"])
    assert got.status == 200
    assert got.json["bucket"] == s3_environ["ARCHIVE_BUCKETS"]
    assert found["ContentType"] == "application/json"
    with found["Body"] as stream:
        assert stream.read() == b'{"in": "s3"}'


BODIES = {
    "every byte there is": bytes(range(256)),
    "every byte, backwards": bytes(range(255, -1, -1)),
    "invalid UTF-8": b"\xff\xfe\x80 \xc3(",
    "UTF-16": '{"a": "ü"}'.encode("utf-16"),
    "a NUL": b"\0",
    "line ends of all kinds": b"\r\n a \n\r b \r",
    "text that looks like base64": b"aGVsbG8=",
    "nothing": b"",
}


@pytest.mark.parametrize("body", BODIES.values(), ids=BODIES)
def test_a_body_is_kept_byte_for_byte(send, kept, body):
    got = send(body, headers=OCTETS)

    assert got.status == 200
    assert kept(f"events/{got.json['key']}") == body


JSON_BODIES = {
    "a byte order mark first": b'\xef\xbb\xbf{"a": 1}',
    "a line end last": b'{"a": 1}\r\n',
    "white space all around": b"\n\t [1 ,\r2 ] \r\n",
    "text beyond ASCII": '{"name": "Müller 鍵 🔑"}'.encode(),
    "an escaped NUL": b'"\\u0000"',
    "half a surrogate pair": b'"\\ud83d"',
    "a name twice": b'{"a": 1, "a": 2}',
    "5,000 digits": b"9" * 5_000,
    "500 levels": b"[" * 500 + b"]" * 500,
    "a number alone": b"1.50e+1",
}


@for_each("headers", [JSON, {}])
@for_each("body", JSON_BODIES)
def test_json_is_kept_as_it_was_written(send, kept, body, headers):
    got = send(body, headers=headers)

    assert got.status == 200
    assert got.json["key"].endswith(".json")
    assert kept(f"events/{got.json['key']}") == body


SNS = b'{"Type": "Notification", "Message": "{}"}'


@for_each(
    "content_type, body, extension",
    [
        ("text/plain; charset=UTF-8", SNS, "json"),
        ("application/x-www-form-urlencoded", SNS, "json"),
        ("application/cloudevents+json", SNS, "json"),
        ("APPLICATION/JSON;charset=utf-8", SNS, "json"),
        ("application/x-www-form-urlencoded", b"From=%2B15550100&Body=Hi", "form"),
        ("application/xml", b"<a/>", "xml"),
        ("text/xml", b"<a/>", "xml"),
        ("application/soap+xml; action=x", b"<a/>", "xml"),
        ("text/plain", b"hello", "txt"),
        ("text/csv", b"a;b", "txt"),
        ("application/octet-stream", b"\0\1", "bin"),
        ("multipart/form-data; boundary=x", b"--x--", "bin"),
        ("*/*", b"hello", "bin"),
        ("nonsense", b"hello", "bin"),
    ],
)
def test_the_key_s_extension_says_what_the_bytes_are(send, kept, content_type, body, extension):
    got = send(body, headers={"Content-Type": content_type})

    assert got.status == 200
    assert got.json["key"].rsplit(".", 1)[1] == extension
    assert kept(f"events/{got.json['key']}") == body


@pytest.mark.parametrize("app", ["a", "A1", "my-shop_eu-1", "x" * 50])
def test_an_app_s_name_is_letters_and_digits_with_single_dashes_between(send, app):
    got = send(app=app)

    assert got.status == 200
    assert got.json["key"].startswith(f"{app}/")


def test_a_parameter_nobody_knows_is_no_trouble(send):
    assert send(utm_source="x").status == 200


# --- where to


def test_without_a_bucket_the_first_of_the_list_is_meant(send):
    assert send().json["bucket"] == "events"
    assert send(bucket="events").json["bucket"] == "events"


@pytest.mark.parametrize(
    ("bucket", "path"),
    [
        ("events/eu", "eu/"),
        ("events/a/b.c/D-1", "a/b.c/D-1/"),
        ("events/" + "/".join("12345678"), "1/2/3/4/5/6/7/8/"),
        ("shared/public", "public/"),
        ("shared/public/below", "public/below/"),
    ],
)
def test_a_listed_bucket_allows_itself_and_every_path_below(send, kept, bucket, path):
    got = send(bucket=bucket)

    name = bucket.partition("/")[0]
    assert got.status == 200
    assert got.json["bucket"] == name
    assert got.json["key"].startswith(f"{path}shop/")
    assert kept(f"{name}/{got.json['key']}") == b"{}"


@for_each(
    "bucket",
    [
        "",
        " ",
        "other",
        "EVENTS",
        "events ",
        "eventsx",
        "shared",
        "shared/private",
        "shared/publicity",
        "shared/public/../private",
        "events/",
        "events//a",
        "/events",
        "events/.",
        "events/../other",
        "events/_rejected",
        "events/a b",
        "events/ä",
        "events/a\n",
        "events/a=1",
        "events/" + "x" * 64,
        "events/" + "/".join("123456789"),
        "..",
        "s3://events",
    ],
)
def test_any_other_bucket_or_path_is_refused(send, bucket):
    got = send(bucket=bucket)

    assert (got.status, got.json) == (403, NO_BUCKET)


# --- tokens


NO_GOOD = {
    "missing": {"token": None},
    "empty": {"token": ""},
    "blank": {"token": " "},
    "wrong": {"token": "wrong"},
    "of another app": {"token": OWN},
    "almost right": {"token": TOKEN[:-1]},
    "right with a blank": {"token": f"{TOKEN} "},
    "in capitals": {"token": TOKEN.upper()},
    "beyond ASCII": {"token": "tökén🔑"},
    "a NUL": {"token": "\0"},
    "given twice, right both times": {"token": [TOKEN, TOKEN]},
    "given twice, right once": {"token": ["wrong", TOKEN]},
    "under another name": {"token": None, "Token": TOKEN},
    "wrong, and no app": {"token": "wrong", "app": None},
    "wrong, and the app malformed": {"token": "wrong", "app": "a b"},
    "wrong, and a bucket not allowed": {"token": "wrong", "bucket": "other"},
    "wrong, and a parameter twice": {"token": "wrong", "bucket": ["events", "events"]},
    "wrong, and the body not JSON": {"token": "wrong", "body": b"{"},
    "wrong, and the body too large": {"token": "wrong", "body": b"1" * (LIMIT + 1)},
    "missing, and a Bearer that is wrong": {
        "token": None,
        "headers": {**JSON, "Authorization": "Bearer wrong"},
    },
}


@for_each("delivery", NO_GOOD)
def test_without_the_token_every_answer_is_the_same_to_the_byte(send, delivery):
    got = send(**delivery)

    assert got.status == 403
    reason = responses.INVALID_TOKEN.reason.encode()
    assert got.raw == b'{"result":"fail","reason":"%s"}' % reason


def test_nothing_is_kept_without_the_token(send, objects, fresh):
    send(b"{}", app=fresh, token="wrong")
    send(b"not JSON", app=fresh, token="wrong")

    assert not objects(fresh)
    assert not objects(f"_rejected/{fresh}")


@for_each("name", ["Authorization", "authorization", "AUTHORIZATION"])
@for_each("scheme", ["Bearer", "bearer", "BEARER"])
def test_a_bearer_token_delivers_where_the_query_has_none(send, name, scheme):
    assert send(token=None, headers={**JSON, name: f"{scheme} {TOKEN}"}).status == 200


def test_the_query_s_token_wins_over_a_bearer(send):
    right = {**JSON, "Authorization": f"Bearer {TOKEN}"}
    wrong = {**JSON, "Authorization": "Bearer of-somebody-else"}

    assert send(token=TOKEN, headers=wrong).status == 200
    assert send(token="wrong", headers=right).json == WRONG_TOKEN
    assert send(token="", headers=right).json == WRONG_TOKEN
    assert send(token=[TOKEN, TOKEN], headers=right).json == WRONG_TOKEN


def basic(text: str) -> str:
    return "Basic " + base64.b64encode(text.encode()).decode()


@for_each(
    "value",
    [
        "",
        "Bearer",
        "Bearer ",
        TOKEN,
        f"Token {TOKEN}",
        f"Bearer: {TOKEN}",
        f"Bearer{TOKEN}",
        f"Bearer {TOKEN} {TOKEN}",
        f"Bearer {TOKEN}, Bearer {TOKEN}",
        basic(f"user:{TOKEN}"),
        basic(TOKEN),
    ],
)
def test_other_schemes_are_ignored(send, value):
    headers = {**JSON, "Authorization": value}

    assert send(token=None, headers=headers).json == WRONG_TOKEN
    assert send(headers=headers).status == 200


@pytest.mark.parametrize("app", ["own", "my-own"])
def test_an_app_with_tokens_of_its_own_takes_no_others(send, app):
    assert send(app=app, token=OWN).status == 200
    assert send(app=app, token=TOKEN).json == WRONG_TOKEN
    assert send(app=app, token=None).json == WRONG_TOKEN


@pytest.mark.parametrize("app", ["my_own", "my-own-2", "owner", "shop"])
def test_an_app_s_own_token_is_for_that_app_alone(send, app):
    assert send(app=app, token=OWN).json == WRONG_TOKEN
    assert send(app=app, token=TOKEN).status == 200


def test_while_a_token_is_rotated_the_old_and_the_new_one_deliver(send):
    assert send(app="rotating", token=TOKEN).status == 200
    assert send(app="rotating", token=OTHER).status == 200
    assert send(app="rotating", token=VARIABLES["validToken_rotating"]).json == WRONG_TOKEN


def test_a_stage_can_know_tokens_by_their_hashes_alone(send):
    assert send(app="hashed", token=HASHED).status == 200
    assert send(app="hashed", token=OTHER).status == 200
    assert send(app="hashed", token=hashed(HASHED)).json == WRONG_TOKEN
    assert send(app="hashed", token="sha256:wrong").json == WRONG_TOKEN


@for_each("token", [TOKEN, OWN, "wrong", "", None])
@for_each("app", [*UNUSABLE])
def test_an_app_whose_own_variable_is_unusable_is_closed_alone(send, app, token):
    got = send(app=app, token=token)

    assert (got.status, got.json, got.headers["retry-after"]) == (
        503,
        NO_TOKEN,
        str(responses.RETRY_AFTER),
    )
    assert send(app="shop").status == 200


WITHOUT_TOKEN = {
    "no variables": None,
    "none of them": {},
    "another variable": {"validtoken": TOKEN},
    **{name: {"validToken": value} for name, value in UNUSABLE.items()},
}


@pytest.mark.parametrize(
    ("way", "variables"), in_every_way(WITHOUT_TOKEN, quick="none of them"), indirect=["way"]
)
def test_a_stage_without_a_usable_token_is_closed_to_everyone(send, variables):
    for token in (TOKEN, "wrong", "", None, "sha256:", "None", "{}", ["", ""]):
        got = send(variables=variables, token=token)

        assert (got.status, got.json, got.headers["retry-after"]) == (
            503,
            NO_TOKEN,
            str(responses.RETRY_AFTER),
        )


# --- parameters


@for_each(
    "app",
    [
        None,
        "",
        " ",
        "a b",
        " shop",
        "shop ",
        "shop\n",
        "_events",
        "-a",
        "a-",
        "a--b",
        "a__b",
        "a-_b",
        "a/b",
        "..",
        "a.b",
        "ä",
        "ｓｈｏｐ",
        "a\0",
        "x" * 51,
    ],
)
def test_an_app_that_is_missing_or_malformed_is_400_and_says_what_is_allowed(send, app):
    got = send(app=app)

    assert got.status == 400
    assert got.json == fail(got.json["reason"])
    assert got.json["reason"].startswith("Invalid app: ")


@pytest.mark.parametrize(
    "twice",
    [
        {"app": ["shop", "shop"]},
        {"app": ["shop", "own"]},
        {"bucket": ["events", "events"]},
        {"bucket": ["", "events"]},
        {"other": ["1", "2"]},
    ],
)
def test_a_parameter_given_twice_is_400(send, twice):
    got = send(**twice)

    assert got.status == 400
    assert (
        got.json["reason"] == "Invalid query: a parameter is given more than once; give each once"
    )


# --- bodies that are not what they claim


NOT_JSON = {
    "cut short": b'[{"event": "delivered"',
    "too deep": b"[" * 100_000,
    "too deep, and closed": b"[" * 100_000 + b"]" * 100_000,
    "NaN": b"[NaN]",
    "Infinity": b"-Infinity",
    "two of them": b"{}{}",
    "two byte order marks": b"\xef\xbb\xbf\xef\xbb\xbf{}",
    "a byte order mark alone": b"\xef\xbb\xbf",
    "UTF-16": "{}".encode("utf-16"),
    "Latin-1": '"ü"'.encode("latin-1"),
    "a form": b"a=1&b=2",
    "a NUL after it": b"{}\0",
    "blanks": b"  ",
    "empty": b"",
}


@for_each("body", NOT_JSON)
def test_a_body_that_claims_to_be_json_and_is_not_is_400_and_kept(send, kept, fresh, body):
    got = send(body, app=fresh)

    key = got.json["kept"]
    assert got.status == 400
    assert got.json == fail(responses.NOT_JSON.reason, kept=key)
    assert isinstance(parse_key(key), RejectedKey)
    assert parse_key(key).app == fresh
    assert parse_key(key).sha256 == sha256(body).hexdigest()
    assert kept(f"events/{key}") == body


@pytest.mark.parametrize(
    "content_type",
    [
        None,
        "",
        "application/json",
        "APPLICATION/Json; charset=utf-8",
        "text/json",
        "application/cloudevents+json",
        "application/vnd.API+JSON",
    ],
)
def test_json_is_claimed_by_many_names_and_by_saying_nothing(send, content_type):
    headers = {} if content_type is None else {"Content-Type": content_type}
    got = send(b"{", headers=headers)

    assert got.status == 400
    assert got.json["reason"] == responses.NOT_JSON.reason


def test_a_rejected_body_lies_below_the_path_that_was_asked_for(send, kept):
    got = send(b"{", bucket="shared/public")

    assert got.json["kept"].startswith("public/_rejected/shop/")
    assert kept(f"shared/{got.json['kept']}") == b"{"


def test_a_sender_that_repeats_a_rejected_body_fills_nothing_up(send, objects, fresh):
    keys = {send(b"{", app=fresh).json["kept"] for _ in range(3)}

    # Three, as midnight may lie between two of them.
    assert len(keys) < 3
    assert objects(f"_rejected/{fresh}") == keys
    assert not objects(fresh)


def test_an_empty_body_is_no_json_and_yet_a_text(send, kept):
    got = send(b"", headers=TEXT)

    assert got.status == 200
    assert got.json["key"].endswith(".txt")
    assert kept(f"events/{got.json['key']}") == b""
    assert send(b"", headers=JSON).status == 400


# --- sizes


@pytest.mark.parametrize("headers", [JSON, OCTETS], ids=["JSON", "octets"])
def test_4_mib_exactly_are_still_in(send, kept, headers):
    body = b'"' + b"x" * (LIMIT - 2) + b'"'
    got = send(body, headers=headers)

    assert got.status == 200
    assert kept(f"events/{got.json['key']}") == body


@pytest.mark.parametrize("headers", [JSON, OCTETS], ids=["JSON", "octets"])
def test_one_byte_more_is_413(send, objects, fresh, headers):
    got = send(b'"' + b"x" * (LIMIT - 1) + b'"', headers=headers, app=fresh)

    assert got.status == 413
    assert got.json == fail(responses.TOO_LARGE.reason)
    assert not objects(fresh)
    assert not objects(f"_rejected/{fresh}")


# --- faults of ours


@pytest.fixture
def broken(archive: Path) -> dict[str, object]:
    """A stage whose S3 refuses every connection; three seconds leave time for one attempt."""
    environ = {
        **CREDENTIALS,
        "ARCHIVE_CLIENT": "obstore",
        "ARCHIVE_BUCKETS": "events",
        "AWS_ENDPOINT_URL_S3": "http://127.0.0.1:1",
    }
    return {"environ": environ, "seconds": 3}


@pytest.mark.parametrize("body", [b"{}", b"{"], ids=["JSON", "to be rejected"])
def test_where_s3_is_gone_the_sender_is_asked_to_come_again(send, broken, body):
    got = send(body, **broken)

    assert got.status == 503
    assert got.headers["retry-after"] == RETRY_AFTER
    assert got.json == fail(responses.NOT_STORED.reason)


def test_what_can_be_refused_without_s3_is_refused_where_s3_is_gone(send, broken):
    assert send(**broken, token="wrong").status == 403
    assert send(**broken, app=None).status == 400
    assert send(**broken, bucket="other").status == 403
    assert send(b"1" * (LIMIT + 1), **broken).status == 413


WRONG_SETTINGS = {
    "no buckets": ({}, "ARCHIVE_BUCKETS"),
    "blank buckets": ({"ARCHIVE_BUCKETS": " "}, "ARCHIVE_BUCKETS"),
    "a malformed bucket": ({"ARCHIVE_BUCKETS": "events,s3://no"}, "ARCHIVE_BUCKETS"),
    "a client nobody knows": (
        {"ARCHIVE_BUCKETS": "events", "ARCHIVE_CLIENT": "nonsense"},
        "ARCHIVE_CLIENT",
    ),
    "an endpoint that is no URL": (
        {"ARCHIVE_BUCKETS": "events", "AWS_ENDPOINT_URL_S3": "localhost:9000"},
        "AWS_ENDPOINT_URL_S3",
    ),
}


@pytest.mark.parametrize(
    ("way", "setting"), in_every_way(WRONG_SETTINGS, quick="no buckets"), indirect=["way"]
)
def test_a_wrong_setting_is_503_for_everyone_and_named(send, setting):
    environ, variable = setting
    for token in (TOKEN, "wrong", None):
        got = send(environ=environ, token=token)

        assert got.status == 503
        assert got.headers["retry-after"] == RETRY_AFTER
        assert got.json["result"] == "fail"
        assert variable in got.json["reason"]


def test_a_fault_nobody_thought_of_is_503(ask):
    sent = ask()
    got = invoke(event(sent), sent, context=object())  # no Lambda context has no clock

    assert got.status == 503
    assert got.headers["retry-after"] == RETRY_AFTER
    assert got.json["result"] == "fail"


# --- other methods


@for_each("token", [TOKEN, "wrong", None])
@for_each("method", ["GET", "OPTIONS", "PUT", "PATCH", "DELETE"])
def test_other_methods_are_405_in_json(send, method, token):
    got = send(method=method, token=token)

    assert got.status == 405
    assert got.headers["allow"] == "POST"
    assert got.json == fail(responses.METHOD_NOT_ALLOWED.reason)


@pytest.mark.parametrize("token", [TOKEN, "wrong", None])
def test_head_is_405_without_a_body(send, token):
    got = send(b"", method="HEAD", token=token)

    assert (got.status, got.raw) == (405, b"")
    assert got.headers["allow"] == "POST"


def test_the_local_server_sends_nothing_after_the_headers_of_head(servers: Servers, ask):
    server = servers.server(ask())
    answer = server.send_raw(b"HEAD /input HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")

    assert answer.startswith(b"HTTP/1.1 405 ")
    assert answer.endswith(b"\r\n\r\n")
    assert answer.count(b"\r\n\r\n") == 1


# --- what only one of the three can say


def changed(sent: Sent, **changes: object) -> Got:
    """Only an event can say this."""
    return invoke(event(sent) | changes, sent)


def test_an_event_where_all_is_null_is_refused_for_want_of_a_token(ask):
    sent = ask(b"", headers={}, token=None, app=None)
    nothing = event(sent)

    assert nothing["headers"] is None
    assert nothing["multiValueQueryStringParameters"] is None
    assert nothing["body"] is None
    assert by_event(sent).json == WRONG_TOKEN


def test_an_event_without_headers_is_stored_and_never_400(ask, kept):
    """Without an Accept header Chalice would answer 400 once the view has run."""
    sent = ask(b'{"a": 1}', headers={})
    got = by_event(sent)

    assert event(sent)["headers"] is None
    assert got.status == 200
    assert kept(f"events/{got.json['key']}") == b'{"a": 1}'


@for_each("accept", ["*/*", "application/json", "text/html", "image/png", ""])
@for_each("name", ["Accept", "accept"])
def test_whatever_a_sender_accepts_its_delivery_is_stored(send, name, accept):
    got = send(headers={**JSON, name: accept})

    assert got.status == 200
    assert got.json["result"] == "success"


ACCEPTS = [None, "", "*/*", "application/json", "text/html", "image/png", "application/json, */*"]


@pytest.mark.parametrize("accept", ACCEPTS)
def test_a_response_leaves_as_text_whatever_is_accepted(ask, accept):
    """Base64 reaches a sender as it stands where API Gateway does not like its Accept."""
    headers = JSON if accept is None else {**JSON, "Accept": accept}
    for row in ({}, {"token": "wrong"}, {"body": b"{"}, {"method": "PUT"}, HANDSHAKE):
        sent = ask(**{"headers": headers, **row})
        response = app(event(sent), None)

        assert response["isBase64Encoded"] is False
        assert isinstance(response["body"], str)
        assert response["body"].startswith(("{", HANDSHAKE["hub.challenge"]))


HANDSHAKE = {
    "method": "GET",
    "app": "meta",
    "hub.mode": "subscribe",
    "hub.challenge": "1158201444",
}
OF_CHALICE = {
    "a path it does not know": {"resourcePath": "/elsewhere"},
    "a method it does not know": {"httpMethod": "TRACE"},
}


@pytest.mark.parametrize("changes", OF_CHALICE.values(), ids=OF_CHALICE)
@pytest.mark.parametrize("accept", ["", "image/png"])
def test_what_chalice_itself_says_leaves_as_text_too(ask, changes, accept):
    asked = event(ask(headers={**JSON, "Accept": accept}))
    asked["requestContext"] |= changes
    response = app(asked, None)

    assert response["statusCode"] in (403, 404, 405)
    assert response["isBase64Encoded"] is False
    assert json.loads(response["body"])


def test_a_sender_without_accept_hears_json_through_api_gateway(ask, archive, monkeypatch):
    monkeypatch.setenv("ARCHIVE_FOLDER", str(archive))
    monkeypatch.setenv("ARCHIVE_BUCKETS", "events")
    with Front(lambda asked: app(asked, None), lambda: {"validToken": TOKEN}) as front:
        host, _, stage = front.url.removeprefix("http://").partition("/")
        connection = HTTPConnection(host, timeout=60)
        connection.putrequest("POST", f"/{stage}/input?token={TOKEN}&app=shop")
        connection.putheader("Content-Length", "2")
        connection.endheaders(b"{}")
        answer = connection.getresponse()
        said = json.loads(answer.read())
        connection.close()

    assert (answer.status, said["result"]) == (200, "success")


@pytest.mark.parametrize("variables", [None, {}])
def test_an_event_s_null_stage_variables_let_nobody_in(ask, variables):
    for token in ("", "None", "null", TOKEN):
        assert changed(ask(token=token), stageVariables=variables).json == NO_TOKEN


def test_api_gateway_is_told_to_leave_every_body_as_it_is():
    """Otherwise it decodes bodies as UTF-8 text, which no event can show."""
    assert app.api.binary_types == ["*/*"]


def test_an_event_s_body_may_come_as_text(ask, kept):
    body = '{"name": "Müller 🔑"}\r\n'.encode()
    sent = ask(body)
    got = invoke(event(sent, is_base64=False), sent)

    assert got.status == 200
    assert kept(f"events/{got.json['key']}") == body


def test_text_that_looks_like_base64_is_not_decoded(ask, kept):
    sent = ask(b"aGVsbG8=", headers=TEXT)
    got = invoke(event(sent, is_base64=False), sent)

    assert kept(f"events/{got.json['key']}") == b"aGVsbG8="


@pytest.mark.parametrize(
    "body", ["e30", "e30=x", "e3!0=", "e30=\n", "====", "{}", "e3 0=", "e30=é", "-_-_", "e30=e30="]
)
def test_base64_that_is_not_is_400(ask, objects, fresh, body):
    got = changed(ask(app=fresh), body=body, isBase64Encoded=True)

    assert got.status == 400
    assert got.json["reason"].startswith("Invalid body: ")
    assert not objects(fresh)


def test_text_that_utf_8_cannot_write_is_400(ask):
    got = changed(ask(), body='"\ud83d"', isBase64Encoded=False)

    assert got.status == 400
    assert got.json["reason"].startswith("Invalid body: ")


def test_an_empty_base64_body_is_an_empty_body(ask, kept):
    got = changed(ask(headers=TEXT), body="", isBase64Encoded=True)

    assert got.status == 200
    assert kept(f"events/{got.json['key']}") == b""


def test_an_event_too_large_to_be_json_is_413_before_it_is_looked_at(ask):
    sent = ask(b"[" * (LIMIT + 1))

    assert by_event(sent).status == 413
    assert invoke(event(sent, is_base64=False), sent).status == 413


def test_the_limit_counts_bytes_and_not_letters(ask):
    sent = ask("ü".encode() * (LIMIT // 2 + 1), headers=TEXT)

    assert invoke(event(sent, is_base64=False), sent).status == 413


def test_api_gateway_has_put_a_chunked_body_together(ask, kept):
    got = by_event(ask(b"[1]", headers={**JSON, "Transfer-Encoding": "chunked"}))

    assert got.status == 200
    assert kept(f"events/{got.json['key']}") == b"[1]"


@pytest.mark.parametrize("kind", [b"application/json", b"text/plain"])
def test_the_local_server_puts_a_chunked_body_together_too(servers, ask, kept, fresh, kind):
    sent = ask(app=fresh)
    response = servers.server(sent).send_raw(
        b"POST %b HTTP/1.1\r\nHost: x\r\nContent-Type: %b\r\nTransfer-Encoding: Chunked\r\n\r\n"
        b"2\r\n{}\r\n0\r\n\r\n" % (sent.path.encode(), kind)
    )
    head, _, body = response.partition(b"\r\n\r\n")

    assert head.startswith(b"HTTP/1.1 200 ")
    assert kept(f"events/{json.loads(body)['key']}") == b"{}"


def test_a_chunked_body_that_a_server_did_not_read_is_not_taken_for_an_empty_one(ask, fresh):
    """Chalice's own local server hands it on so."""
    got = by_event(ask(b"", app=fresh, headers={**TEXT, "Transfer-Encoding": "Chunked"}))

    assert got.status == 400
    assert got.json["reason"] == "Invalid body: it came chunked. Send Content-Length"


@pytest.mark.parametrize("query", ["%74oken={token}&app=shop", "app=shop&token={token}&x"])
def test_the_query_is_read_percent_decoded(servers, ask, query):
    line = f"POST /input?{query.format(token=TOKEN)} HTTP/1.1\r\n".encode()
    answer = servers.server(ask()).send_raw(line + b"Host: x\r\nContent-Length: 2\r\n\r\n{}")

    assert answer.startswith(b"HTTP/1.1 200 ")


# --- all answers


ROWS = {
    "stored": {},
    "stored elsewhere": {"bucket": "shared/public/x"},
    "wrong token": {"token": "wrong"},
    "no token": {"token": None},
    "closed app": {"app": "blank"},
    "closed stage": {"variables": None},
    "no app": {"app": None},
    "malformed app": {"app": "a b"},
    "the token as app": {"app": f"{TOKEN}!"},
    "the token as bucket": {"bucket": TOKEN},
    "the token as text in the body": {"body": TOKEN.encode()},
    "the token in another parameter": {"x": [TOKEN, TOKEN]},
    "twice": {"x": ["1", "2"]},
    "other bucket": {"bucket": "other"},
    "not JSON": {"body": b"{"},
    "too large": {"body": b"1" * (LIMIT + 1)},
    "no settings": {"environ": {}},
    "GET": {"method": "GET"},
    "HEAD": {"method": "HEAD", "body": b""},
    "OPTIONS": {"method": "OPTIONS"},
    "DELETE": {"method": "DELETE"},
}
OURS = {"content-type", "cache-control", "x-content-type-options", "retry-after", "allow"}


def without_time(answer: bytes) -> bytes:
    """An answer but for the key, which holds the time of arrival."""
    if not answer:
        return answer
    said = json.loads(answer)
    return json.dumps({**said, "key": said.get("key", "").rsplit("-", 1)[-1]}).encode()


@pytest.mark.parametrize("row", ROWS.values(), ids=ROWS)
def test_three_ways_to_ask_have_one_answer(ways, ask, row):
    sent = ask(**row)
    answers = [send(sent) for send in ways.values()]

    assert len({got.status for got in answers}) == 1
    assert len({without_time(got.raw) for got in answers}) == 1
    first, *others = [{name: got.headers.get(name) for name in OURS} for got in answers]
    assert others == [first, first]


@for_each("row", ROWS)
def test_no_answer_makes_a_sender_give_up_or_shows_a_token(send, row):
    got = send(**row)

    assert got.status in {200, 400, 403, 405, 413, 503}
    assert ("retry-after" in got.headers) == (got.status == 503)
    assert got.headers["content-type"] == "application/json"
    assert TOKEN.encode() not in got.raw
    assert TOKEN not in str(got.headers)
