"""Whatever a sender writes: no 5xx, nothing outside the app's prefix, one clean line in the log."""

import base64
import json
import os
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from urllib.parse import urlencode

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.loops import for_each
from support.project import TOKEN

import app
from chalicelib import responses
from chalicelib.keys import RejectedKey, day_folder, is_app, parse_key
from chalicelib.metadata import headers_of
from chalicelib.settings import BucketPath, from_environment
from chalicelib.sources import source_named, source_names, source_of
from chalicelib.store import open_store

BAIT = "zebra"  # in everything hostile, so that it is seen wherever it comes out again
ACCESS_POINT = f"arn:aws:s3:us-east-1:123456789012:accesspoint/{BAIT}"
CONTRACT = {200, 400, 403, 405, 413, 503}
GENERIC_KEEPS = source_named("generic").keep

HOSTILE = {
    "a NUL": f"{BAIT}\0",
    "a bell": f"\a{BAIT}",
    "a tab": f"{BAIT}\t",
    "a newline": f"{BAIT}\n",
    "a forged line": f'{BAIT}\n{{"level": "INFO", "message": "forged"}}',
    "a forged header": f"{BAIT}\r\nSet-Cookie: a=b",
    "ANSI colours": f"\x1b[31m{BAIT}\x1b[0m",
    "C1 controls": f"\x9b31m{BAIT}",
    "DEL": f"{BAIT}\x7f",
    "a line separator": f"{BAIT}\u2028",
    "a space": f"{BAIT} ",
    "a way up": f"../{BAIT}",
    "a long way up": "../" * 20 + BAIT,
    "a way up behind": f"{BAIT}/../..",
    "a way up, doubled": f"....//{BAIT}",
    "a way up, encoded": f"..%2F{BAIT}",
    "a way up, encoded twice": f"%252e%252e%252f{BAIT}",
    "a way up for Windows": f"..\\{BAIT}",
    "a root": f"/{BAIT}",
    "a home": f"~/{BAIT}",
    "a hidden file": f".{BAIT}",
    "a dot in front": f"./{BAIT}",
    "a slash behind": f"{BAIT}/",
    "two slashes": f"{BAIT}//{BAIT}",
    "a full-width slash": f"{BAIT}\uff0f{BAIT}",
    "full-width letters": f"{BAIT}\uff41",
    "right to left": f"\u202e{BAIT}",
    "a joiner": f"{BAIT}\u200d",
    "an accent, composed": f"{BAIT}\u00e1",
    "an accent, decomposed": f"{BAIT}a\u0301",
    "a Kelvin sign": f"{BAIT}\u212a",
    "an emoji": f"{BAIT}😀",
    "a lone high surrogate": f"{BAIT}\ud800",
    "a lone low surrogate": f"\udfff{BAIT}",
    "10,000 characters": BAIT * 2_000,
    "10,000 characters beyond ASCII": BAIT + "é" * 9_995,
    "a way out of JSON": f'{BAIT}","status":200,"x":"',
    "a script": f"<script>{BAIT}</script>",
    "a format": f"%s%(levelname)s{{0}}{BAIT}",
    "a lookup": f"${{jndi:ldap://{BAIT}}}",
    "a command": f"$({BAIT})",
    "an encoded word": f"=?UTF-8?Q?{BAIT}?=",
    "one of our names": f"_rejected/{BAIT}",
    "a partition": f"{day_folder(date(2026, 11, 20))}/{BAIT}",
    "a bucket's ARN": f"arn:aws:s3:::{BAIT}",
    "an access point": ACCESS_POINT,
    "an access point and a way up": f"{ACCESS_POINT}/../{BAIT}",
    "a URL": f"s3://{BAIT}/",
}
BEYOND_THE_LIST = {
    "nothing": "",
    "a dot": ".",
    "two dots": "..",
    "a slash": "/",
    "soap": "soap",
    "another bucket": BAIT,
    "above the entry": "events",
    "beside the entry": "events/other",
    "beginning like the entry": "events/inn",
    "the entry in capitals": "Events/in",
    "the entry, encoded": "events%2Fin",
    "the entry and a slash": "events/in/",
    "the entry and a newline": "events/in\n",
    "below the entry and up again": f"events/in/../{BAIT}",
    "below the entry and far up": f"events/in/../../../{BAIT}",
    "a hidden segment": f"events/in/.{BAIT}",
    "one of our names below the entry": "events/in/_rejected",
    "a NUL below the entry": f"events/in/{BAIT}\0",
    "a surrogate below the entry": f"events/in/{BAIT}\ud800",
    "nine segments": "events/in/2/3/4/5/6/7/8/9",
    "10,000 characters below the entry": "events/in/" + BAIT * 2_000,
    "the whole list": "events/in,team/a/b",
}

texts = (
    st.text(st.characters())
    | st.text(st.sampled_from("aZ0-_./\\%=,:\n\r\t\0\x1b\u202eａé\ud800\"'{}"))
    | st.sampled_from(sorted(HOSTILE.values()))
)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=8,
)


@dataclass(frozen=True)
class Answer:
    """What a sender hears, and what the log says about it."""

    status: int
    text: str
    log: str

    def __getitem__(self, name):
        return json.loads(self.text)[name]


class House:
    """An archive deep within a folder of its own, so that a way up is still seen."""

    def __init__(self, tmp_path, capsys):
        self.folder = tmp_path
        self.archive = tmp_path.joinpath(*"12345", "archive")
        self._capsys = capsys

    def receive(self, event):
        """Let Lambda's handler answer an event; the log must be clean whatever it is."""
        self._capsys.readouterr()
        answer = app.app(event, None)
        printed, log = self._capsys.readouterr()

        assert printed == ""
        assert log == "" or log.endswith("\n")
        for line in log.splitlines():
            assert line.isascii()
            assert line.isprintable()
            assert isinstance(json.loads(line), dict)
        return Answer(answer["statusCode"], text_of(answer), log)

    def post(self, name="shop", *, headers=None, body=b"{}", **query):
        """Send what API Gateway would make of a request; check what holds for every one."""
        pairs = [(key, value) for key, value in query.items() if value is not None]
        if "token" not in query:
            pairs.append(("token", TOKEN))
        answer = self.receive(genuine_event([*pairs, ("app", name)], headers or {}, body))

        assert answer.status < 500, answer
        assert len(answer.log.splitlines()) == 1
        return answer

    def stored(self, answer):
        """The object that an answer says is stored, through the store."""
        assert answer.status == 200, answer
        return open_store(from_environment(os.environ), answer["bucket"]).get(answer["key"])

    def files(self):
        return [path for path in self.folder.rglob("*") if path.is_file()]

    def check_that_all_lies_below(self, *apps):
        """Every file there is has a key of version 1, in an allowed place, of one of these apps."""
        allowed = from_environment(os.environ).bucket_paths
        for path in self.files():
            bucket, _, key = path.relative_to(self.archive).as_posix().partition("/")
            meaning = parse_key(key.removesuffix(".meta"))
            place = BucketPath(bucket, meaning.prefix.rstrip("/"))

            assert meaning.app in apps
            assert any(entry.allows(place) for entry in allowed)


@pytest.fixture
def house(tmp_path, folder_environ, monkeypatch, capsys):
    home = House(tmp_path, capsys)
    environ = folder_environ | {
        "ARCHIVE_FOLDER": str(home.archive),
        "ARCHIVE_BUCKETS": "events/in,team/a/b",
    }
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")  # where a relative name would land
    return home


# Parameters


@for_each("name", [*HOSTILE.values(), "", ".", ".."])
def test_a_hostile_app_is_refused_and_neither_repeated_nor_logged(house, name):
    answer = house.post(name)

    assert answer.status == 400
    assert answer["reason"].startswith("Invalid app")
    assert BAIT not in answer.text + answer.log
    assert house.files() == []


@pytest.mark.parametrize("name", ["soap", "CON", "dt", "hh", "0", "input", "events", "a" * 50])
def test_an_app_that_only_looks_odd_is_an_app_like_any_other(house, name):
    assert house.stored(house.post(name)).body == b"{}"
    house.check_that_all_lies_below(name)


def test_twins_that_a_disk_might_confuse_never_share_a_folder(house):
    assert house.post("Shop").status == 200

    twin = house.post("shop")
    assert twin.status == 400
    assert twin["reason"].startswith("Invalid app")
    house.check_that_all_lies_below("Shop")


@for_each("bucket", [*HOSTILE.values(), *BEYOND_THE_LIST.values()])
def test_a_bucket_that_is_not_allowed_is_neither_written_nor_repeated_nor_logged(house, bucket):
    answer = house.post(bucket=bucket)

    assert answer.status == 403
    assert answer["reason"] == responses.BUCKET_NOT_ALLOWED.reason
    assert BAIT not in answer.text + answer.log
    assert house.files() == []


@pytest.mark.parametrize("bucket", ["events/in", "events/in/soap", "team/a/b", "team/a/b/C..d"])
def test_a_bucket_that_is_allowed_gets_the_delivery(house, bucket):
    answer = house.post(bucket=bucket)

    assert house.stored(answer).body == b"{}"
    assert f"{answer['bucket']}/{answer['key']}".startswith(f"{bucket}/shop/")
    house.check_that_all_lies_below("shop")


@for_each("token", [*HOSTILE.values(), "", "soap"])
def test_a_hostile_token_is_refused_like_any_wrong_one(house, token):
    answer = house.post(token=token)

    assert answer.status == 403
    assert json.loads(answer.text) == {"result": "fail", "reason": responses.INVALID_TOKEN.reason}
    assert BAIT not in answer.log
    assert house.files() == []


@for_each("token", HOSTILE)
def test_a_hostile_bearer_is_refused_like_any_wrong_one(house, token):
    answer = house.post(token=None, headers={"Authorization": f"Bearer {token}"})

    assert answer.status == 403
    assert json.loads(answer.text) == {"result": "fail", "reason": responses.INVALID_TOKEN.reason}
    assert BAIT not in answer.log
    assert house.files() == []


@for_each("value", HOSTILE)
def test_a_parameter_that_nobody_knows_does_no_harm(house, value):
    answer = house.post(**{value: value})

    assert house.stored(answer).body == b"{}"
    assert BAIT not in answer.text + answer.log
    house.check_that_all_lies_below("shop")


@pytest.mark.parametrize("twice", ["app", "bucket", "other"])
def test_a_parameter_given_twice_is_refused(house, twice):
    query = {"token": TOKEN, "app": "shop", "bucket": "events/in", "other": "x"}
    answer = house.receive(genuine_event([*query.items(), (twice, BAIT)], {}, b"{}"))

    assert answer.status == 400
    assert BAIT not in answer.text + answer.log
    assert house.files() == []


@given(texts)
def test_any_text_is_an_app_of_its_own_or_refused(house, name):
    answer = house.post(name)

    if answer.status == 200:
        assert parse_key(answer["key"]).app == name
        house.check_that_all_lies_below(*apps_in(house))
    else:
        assert answer.status == 400
    assert answer.status == 400 or is_app(name)


@given(texts | texts.map("events/in/".__add__))
def test_any_text_is_an_allowed_bucket_or_refused(house, bucket):
    answer = house.post(bucket=bucket)

    assert answer.status in (200, 400, 403)  # 400: a path differing from another only by case
    house.check_that_all_lies_below("shop")


@given(texts)
def test_no_text_but_the_token_is_the_token(house, token):
    assert house.post(token=token).status == 403
    assert house.files() == []


# Headers


@for_each("value", HOSTILE)
def test_a_hostile_header_is_kept_exactly_or_left_out_by_name(house, value):
    for header in GENERIC_KEEPS:
        answer = house.post(headers={header.title(): value})

        check_kept(house.stored(answer), {header: value})
        assert BAIT not in answer.text + answer.log, header
    house.check_that_all_lies_below("shop")


@pytest.mark.parametrize("value", HOSTILE.values(), ids=HOSTILE)
def test_a_hostile_header_of_a_refused_body_is_kept_like_any_other(house, value):
    answer = house.post(headers={"User-Agent": value}, body=b"{")

    assert answer.status == 400
    assert BAIT not in answer.text + answer.log
    check_kept(
        open_store(from_environment(os.environ), "events").get(answer["kept"]),
        {"user-agent": value},
    )
    assert isinstance(parse_key(answer["kept"]), RejectedKey)
    house.check_that_all_lies_below("shop")


@for_each("name", HOSTILE)
def test_a_header_with_a_hostile_name_is_not_kept_and_does_no_harm(house, name):
    answer = house.post(headers={name: BAIT, f"X-{name}": BAIT, "User-Agent": "sender/1"})

    check_kept(house.stored(answer), {"user-agent": "sender/1"})
    assert BAIT not in answer.text + answer.log + metadata_in(house)


@pytest.mark.parametrize("source", sorted(source_names()))
@pytest.mark.parametrize("letter", ["a", "é", "\n", "\ud800"])
def test_10_kb_in_every_header_of_a_source_cost_no_delivery(house, source, letter):
    sent = dict.fromkeys(source_named(source).keep, letter * 10_000)
    answer = house.post(source, headers=sent)

    check_kept(house.stored(answer), sent)
    house.check_that_all_lies_below(source)


def test_a_header_given_in_two_cases_is_kept_once(house):
    answer = house.post(headers={"User-Agent": "one", "user-agent": "two", "USER-AGENT": "three"})

    assert headers_of(house.stored(answer).metadata)["user-agent"] in ("one", "two", "three")


@for_each("accept", [None, "", "text/html", *HOSTILE.values()])
def test_no_accept_header_turns_what_is_stored_into_a_failure(house, accept):
    answer = house.post(headers={} if accept is None else {"Accept": accept})

    assert house.stored(answer).body == b"{}"


@given(
    st.fixed_dictionaries({}, optional=dict.fromkeys(GENERIC_KEEPS, texts)),
    st.dictionaries(texts.map("x-".__add__), texts, max_size=3),
    st.binary(max_size=40) | st.just(b"[]"),
)
def test_whatever_its_headers_a_delivery_is_kept_byte_for_byte(house, sent, others, body):
    answer = house.post(headers=sent | others, body=body)

    key = answer["key"] if answer.status == 200 else answer["kept"]
    obj = open_store(from_environment(os.environ), "events").get(key)
    assert obj.body == body
    if answer.status == 200:  # refused bytes are kept once a day, with the headers of that time
        check_kept(obj, sent)


# The token


TOKEN_SENT = {
    "in the query": ([("token", TOKEN)], {}),
    "as Bearer": ([], {"Authorization": f"Bearer {TOKEN}"}),
    "both ways": ([("token", TOKEN)], {"Authorization": f"Bearer {TOKEN}"}),
    "twice": ([("token", TOKEN), ("token", TOKEN)], {}),
    "with a space": ([("token", TOKEN + " ")], {}),
    "with a newline": ([("token", TOKEN + "\n")], {}),
    "as Basic": ([], {"Authorization": f"Basic {TOKEN}"}),
    "in a cookie": ([], {"Cookie": f"token={TOKEN}"}),
    "in place of the app": ([("token", "shop"), ("app", TOKEN)], {}),
    "in place of the bucket": ([("token", "shop"), ("bucket", TOKEN)], {}),
    "beside a wrong bucket": ([("token", TOKEN), ("bucket", "other")], {}),
    "beside a malformed app": ([("token", TOKEN), ("app", "../x")], {}),
    "under another name": ([("Token", TOKEN)], {}),
}


@pytest.mark.parametrize(("query", "headers"), TOKEN_SENT.values(), ids=TOKEN_SENT)
@pytest.mark.parametrize("body", [b"{}", b"{"], ids=["good", "refused"])
def test_a_token_is_never_told_logged_or_kept(house, query, headers, body):
    query = query if "app" in dict(query) else [*query, ("app", "shop")]
    answer = house.receive(genuine_event(query, headers, body))

    assert answer.status in CONTRACT
    check_unseen(TOKEN, house, answer)


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("ARCHIVE_BUCKETS", ""),
        ("ARCHIVE_BUCKETS", "Not A Bucket"),
        ("ARCHIVE_CLIENT", "other"),
        ("ARCHIVE_FOLDER", os.devnull),
    ],
)
def test_a_token_is_not_shown_by_a_fault_of_ours_either(house, monkeypatch, variable, value):
    monkeypatch.setenv(variable, value)
    answer = house.receive(genuine_event([("token", TOKEN), ("app", "shop")], {}, b"{}"))

    assert answer.status == 503
    check_unseen(TOKEN, house, answer)


def test_the_other_tokens_of_the_stage_are_not_shown(house):
    others = {"validToken": f"{TOKEN},second-canary", "validToken_shop": "third-canary"}
    event = genuine_event([("token", TOKEN), ("app", "shop")], {}, b"{}")
    answer = house.receive(event | {"stageVariables": others})

    assert answer.status == 403
    check_unseen("canary", house, answer)
    check_unseen(TOKEN, house, answer)


# Events that API Gateway would not make, but who may invoke the function can


@pytest.mark.parametrize(
    "missing",
    [
        *(
            "resource",
            "path",
            "httpMethod",
            "headers",
            "multiValueHeaders",
            "queryStringParameters",
        ),
        *("multiValueQueryStringParameters", "pathParameters", "stageVariables", "body"),
        "isBase64Encoded",
    ],
)
@pytest.mark.parametrize("value", [None, "left out"])
def test_an_event_with_a_part_missing_or_null_gets_an_answer(house, missing, value):
    event = genuine_event([("token", TOKEN), ("app", "shop")], {}, b"{}")
    event = {name: part for name, part in event.items() if name != missing}
    answer = house.receive(event if value else event | {missing: None})

    assert answer.status in CONTRACT
    check_told_as_stored(house, answer)


def test_an_event_of_nothing_but_a_path_and_a_method_gets_an_answer(house):
    answer = house.receive({"requestContext": {"resourcePath": "/input", "httpMethod": "POST"}})

    assert answer.status == 503
    assert answer["reason"] == responses.NO_TOKEN.reason


@pytest.mark.parametrize("header", ["accept", "Accept", "content-type", "user-agent", "x"])
@pytest.mark.parametrize("value", [None, 5, ["*/*"], {}], ids=repr)
def test_a_header_that_is_not_text_gets_an_answer(house, header, value):
    event = genuine_event([("token", TOKEN), ("app", "shop")], {}, b"{}")
    answer = house.receive(event | {"headers": {header: value}})

    assert answer.status in CONTRACT
    check_told_as_stored(house, answer)


@pytest.mark.parametrize("headers", [[], "", "x", 5, ["x"], [["a", "b"]], True], ids=repr)
def test_headers_that_are_no_object_get_an_answer(house, headers):
    event = genuine_event([("token", TOKEN), ("app", "shop")], {}, b"{}")
    answer = house.receive(event | {"headers": headers})

    assert answer.status in CONTRACT
    check_told_as_stored(house, answer)


@pytest.mark.parametrize(
    "query",
    [
        *([], "x", 5, ["x"], {"token": None}, {"token": [None]}, {"token": TOKEN}, {"token": [5]}),
        *(
            {"token": [TOKEN], "app": it}
            for it in (None, [], [None], [5], "shop", 5, {}, [["shop"]])
        ),
        {"token": [TOKEN], "app": ["shop"], "bucket": None},
        {"token": [TOKEN], "app": ["shop"], "bucket": [5]},
        {"token": [TOKEN], "app": ["shop"], "other": None},
    ],
    ids=lambda query: repr(query).replace(TOKEN, "…"),
)
def test_a_query_of_another_shape_gets_an_answer_and_stores_nothing(house, query):
    event = genuine_event([], {}, b"{}")
    answer = house.receive(event | {"multiValueQueryStringParameters": query})

    assert answer.status in CONTRACT - {200}
    assert house.files() == []


@pytest.mark.parametrize("body", [5, True, 1.5, [1, 2], {"a": 1}, ["{}"]], ids=repr)
@pytest.mark.parametrize("is_base64", [True, False], ids=["base64", "text"])
def test_a_body_that_is_not_text_is_refused_and_no_bytes_are_made_up(house, body, is_base64):
    event = genuine_event([("token", TOKEN), ("app", "shop")], {}, b"{}")
    answer = house.receive(event | {"body": body, "isBase64Encoded": is_base64})

    assert answer.status in CONTRACT - {200}
    assert house.files() == []


@pytest.mark.parametrize(
    "body",
    ["e30", "e30=\n", "e3 0=", "e30==", "_-8=", "é", "\ud800", "e30=\0", "=", "e"],
    ids=ascii,
)
def test_base64_that_is_not_is_refused(house, body):
    event = genuine_event([("token", TOKEN), ("app", "shop")], {}, b"{}")
    answer = house.receive(event | {"body": body})

    assert answer.status == 400
    assert "base64" in answer["reason"]
    assert house.files() == []


def test_text_that_cannot_be_bytes_is_refused(house):
    event = genuine_event([("token", TOKEN), ("app", "shop")], {}, b"{}")
    answer = house.receive(event | {"body": '"\ud800"', "isBase64Encoded": False})

    assert answer.status == 400
    assert house.files() == []


@pytest.mark.parametrize(
    "variables",
    [[], "x", 5, ["validToken"], {"validToken": None}, {"validToken": [TOKEN]}, {"validToken": {}}],
    ids=repr,
)
def test_stage_variables_of_another_shape_let_nobody_in(house, variables):
    event = genuine_event([("token", TOKEN), ("app", "shop")], {}, b"{}")
    answer = house.receive(event | {"stageVariables": variables})

    assert answer.status == 503
    assert house.files() == []


@pytest.mark.parametrize("method", ["post", "BREW", "", None, "POST\n", BAIT + "\ud800"], ids=ascii)
def test_a_method_that_nobody_knows_is_refused(house, method):
    event = genuine_event([("token", TOKEN), ("app", "shop")], {}, b"{}")
    event["requestContext"]["httpMethod"] = method
    answer = house.receive(event)

    assert answer.status == 405
    assert house.files() == []


@for_each("request_id", [None, 5, [], *HOSTILE.values()])
def test_a_hostile_request_id_is_neither_logged_nor_kept(house, request_id):
    event = genuine_event([("token", TOKEN), ("app", "shop")], {}, b"{}")
    event["requestContext"]["requestId"] = request_id
    answer = house.receive(event)

    assert house.stored(answer).metadata.get("request-id", "") == ""
    assert BAIT not in answer.text + answer.log


PARTS = ["headers", "multiValueQueryStringParameters", "stageVariables", "body", "isBase64Encoded"]


@given(st.dictionaries(st.sampled_from([*PARTS, "pathParameters", "path"]), json_values))
def test_any_event_gets_an_answer(house, parts):
    before = len(house.files())
    event = genuine_event([("token", TOKEN), ("app", "shop")], {}, b"{}")
    answer = house.receive(event | parts)

    assert answer.status in CONTRACT
    assert answer.status == 200 or "kept" in answer.text or len(house.files()) == before
    house.check_that_all_lies_below("shop")


def genuine_event(query, headers, body):
    """What API Gateway (REST, payload version 1.0) makes of a request, binary types `*/*`."""
    headers = {"Host": "abc.execute-api.us-east-1.amazonaws.com", **headers}
    multi = {}
    for name, value in query:
        multi.setdefault(name, []).append(value)
    return {
        "resource": "/input",
        "path": "/input",
        "httpMethod": "POST",
        "headers": headers,
        "multiValueHeaders": {name: [value] for name, value in headers.items()},
        "queryStringParameters": dict(query) or None,
        "multiValueQueryStringParameters": multi or None,
        "pathParameters": None,
        "stageVariables": {"validToken": TOKEN},
        "requestContext": {
            "resourceId": "a1b2c3",
            "resourcePath": "/input",
            "httpMethod": "POST",
            "extendedRequestId": "XyZ=",
            "requestTime": "20/Nov/2026:23:50:01 +0000",
            "path": "/api/input",
            "accountId": "123456789012",
            "protocol": "HTTP/1.1",
            "stage": "api",
            "domainPrefix": "abc",
            "requestTimeEpoch": 1795218601123,
            "requestId": "2b1f6a52-6f4c-4a7d-9d10-5f4f0c9f5a11",
            "identity": {"sourceIp": "192.0.2.1", "userAgent": None, "accountId": None},
            "domainName": "abc.execute-api.us-east-1.amazonaws.com",
            "apiId": "abc",
        },
        "body": base64.b64encode(body).decode() or None,
        "isBase64Encoded": bool(body),
    }


def text_of(answer):
    """An answer as its sender reads it: JSON, in ASCII."""
    text = answer["body"]
    assert answer["isBase64Encoded"] is False
    assert isinstance(json.loads(text), dict)
    return text


def check_kept(obj, sent):
    """Each header that was sent reads back exactly, or is named as left out."""
    kept = headers_of(obj.metadata)
    left_out = set(obj.metadata.get("omitted", "").split(",")) - {""}
    keeps = source_of(parse_key(obj.key).app).keep

    assert {name: kept[name] for name in sent if name not in left_out} == {
        name: value for name, value in sent.items() if name not in left_out
    }
    assert set(kept) <= set(keeps)
    assert all(len(sent[name].encode("utf-8", "surrogatepass")) > 100 for name in left_out)
    assert sum(len(it) for pair in obj.metadata.items() for it in pair) <= 1_900
    assert all(value.isascii() and value.isprintable() for value in obj.metadata.values())


def check_unseen(secret, house, answer):
    encoded = urlencode({"x": secret}).removeprefix("x=")
    for text in (answer.text, answer.log, metadata_in(house), *map(str, house.files())):
        assert secret not in text
        assert encoded not in text


def check_told_as_stored(house, answer):
    """Told 200 if it was stored, told what was kept if it was kept; else nothing is there."""
    if answer.status == 200:
        assert house.stored(answer).body == b"{}"
    else:
        assert house.files() == [] or "kept" in answer.text


def metadata_in(house):
    return "".join(path.read_text() for path in house.files() if path.suffix == ".meta")


def apps_in(house):
    """The names of the folders that stand where apps do."""
    there = Path(house.archive, "events", "in")
    return {path.name for path in there.iterdir() if is_app(path.name)}
