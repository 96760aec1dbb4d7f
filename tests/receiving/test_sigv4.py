"""The local check of AWS Signature Version 4, against the signatures that AWS published.

The suite is `aws-signing-test-suite/v4` of https://github.com/awslabs/aws-c-auth (Apache-2.0). A
dozen of its cases stand here; name a directory of all of them in SIGV4_SUITE to run them too.
"""

import json
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import parse_qs

import pytest
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest, HTTPHeaders
from botocore.credentials import Credentials
from support.project import PROJECT

from chalicelib.settings import SettingError
from chalicelib.sigv4 import Signed, credentials, verified_arn

ARN = "arn:aws:iam::123456789012:user/example"
KNOWN = {"AKIDEXAMPLE": ("wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY", ARN)}
DATE = "20150830T123600Z"
NOW = datetime(2015, 8, 30, 12, 36, tzinfo=UTC)
FORM_HASH = "9095672bbd1f56dfc5b65f3e153adc8731a4a654192329106275f4c7b24d0b6e"
ALPHABET = "-._~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
ANOTHER_DIGIT = str.maketrans("0123456789abcdef", "123456789abcdef0")


@dataclass(frozen=True)
class Case:
    """A published request: what was sent, and the signature that AWS says it has."""

    signature: str
    method: str = "GET"
    path: str = "/"
    query: str = ""
    more: dict[str, str] = field(default_factory=dict)  # signed headers beside host and date
    body: bytes = b""

    @property
    def request(self) -> Signed:
        headers = {"host": "example.amazonaws.com", "x-amz-date": DATE} | self.more
        scope = "AKIDEXAMPLE/20150830/us-east-1/service/aws4_request"
        headers["authorization"] = (
            f"AWS4-HMAC-SHA256 Credential={scope}, "
            f"SignedHeaders={';'.join(sorted(headers))}, Signature={self.signature}"
        )
        return Signed(self.method, self.path, parsed(self.query), headers, self.body)


def parsed(query: str) -> dict[str, list[str]]:
    """The parameters, as the local server hands them on."""
    return parse_qs(query, keep_blank_values=True)


CASES = {
    "get-vanilla": Case("5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31"),
    "get-vanilla-query-order-key-case": Case(
        "b97d918cfa904a5beff61c982a1b6f458b799221646efd99d3219ec94cdf2500",
        query="Param2=value2&Param1=value1",
    ),
    "get-vanilla-query-order-encoded": Case(
        "371d3713e185cc334048618a97f809c9ffe339c62934c032af5a0e595648fcac",
        query="Param-3=Value3&Param=Value2&%E1%88%B4=Value1",
    ),
    "get-vanilla-query-unreserved": Case(
        "9c3e54bfcdf0b19771a7f523ee5669cdf59bc7cc0884027167c21bb143a40197",
        query=f"{ALPHABET}={ALPHABET}",
    ),
    "get-vanilla-utf8-query": Case(
        "2cdec8eed098649ff3a119c94853b13c643bcf08f8b0a1d91e12c9027818dd04", query="ሴ=bar"
    ),
    "get-utf8": Case("8318018e0b0f223aa2bbf98705b62bb787dc9c0e678f255a891fd03141be5d85", path="/ሴ"),
    "get-unreserved": Case(
        "07ef7494c76fa4850883e2b006601f940f8a34d404d0cfa977f52a65bbf5f24f", path=f"/{ALPHABET}"
    ),
    "get-space-normalized": Case(
        "652487583200325589f1fba4c7e578f72c47cb61beeca81406b39ddec1366741", path="/example space/"
    ),
    "get-slashes-normalized": Case(
        "9a624bd73a37c9a373b5312afbebe7a714a789de108f0bdfe846570885f57e84", path="//example//"
    ),
    "get-relative-normalized": Case(
        "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31", path="/example/.."
    ),
    "get-header-value-trim": Case(
        "acc3ed3afb60bb290fc8d2dd0098b9911fcaa05412b367055dee359757a9c736",
        more={"my-header1": " value1", "my-header2": ' "a   b   c"'},
    ),
    "get-vanilla-with-session-token": Case(
        "07ec1639c89043aa0e3e2de82b96708f198cceab042d4a97044c66dd9f74e7f8",
        more={
            "x-amz-security-token": "6e86291e8372ff2a2260956d9b8aae1d763fbf31"
            "5fa00fa31553b73ebf194267"
        },
    ),
    "post-vanilla-query": Case(
        "28038455d6de14eafc1f9222cf5aa6f1a96197d7deb8263271d420d138af7f11",
        method="POST",
        query="Param1=value1",
    ),
    "post-header-value-case": Case(
        "cdbc9802e29d2942e5e10b5bccfdd67c5f22c7c4e8ae67b53629efa58b974b7d",
        method="POST",
        more={"my-header1": "VALUE1"},
    ),
    "post-x-www-form-urlencoded": Case(
        "d3875051da38690788ef43de4db0d8f280229d82040bfac253562e56c3f20e0b",
        method="POST",
        more={
            "content-type": "application/x-www-form-urlencoded",
            "content-length": "13",
            "x-amz-content-sha256": FORM_HASH,
        },
        body=b"Param1=value1",
    ),
    "post-x-www-form-urlencoded-parameters": Case(
        "328d1b9eaadca9f5818ef05e8392801e091653bafec24fcab71e7344e7f51422",
        method="POST",
        more={
            "content-type": "application/x-www-form-urlencoded; charset=utf-8",
            "content-length": "13",
            "x-amz-content-sha256": FORM_HASH,
        },
        body=b"Param1=value1",
    ),
}

each_case = pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())


def signer(request: Signed, now: datetime = NOW, service: str = "service") -> str | None:
    return verified_arn(request, KNOWN, now=now, service=service)


def with_header(request: Signed, name: str, value: str) -> Signed:
    return replace(request, headers={**request.headers, name: value})


# --- what AWS published


@each_case
def test_a_published_signature_is_good(case: Case) -> None:
    assert signer(case.request) == ARN


@each_case
def test_another_body_is_refused(case: Case) -> None:
    assert signer(replace(case.request, body=case.body + b"x")) is None
    assert signer(replace(case.request, body=b"Param1=valuf1")) is None


@each_case
def test_another_path_is_refused(case: Case) -> None:
    assert signer(replace(case.request, path=case.path + "x")) is None
    assert signer(replace(case.request, path="/x" + case.path)) is None


@each_case
def test_another_query_is_refused(case: Case) -> None:
    assert signer(replace(case.request, query=parsed(case.query + "x"))) is None
    assert signer(replace(case.request, query=parsed(case.query + "&x="))) is None


@each_case
def test_another_method_is_refused(case: Case) -> None:
    assert signer(replace(case.request, method="PUT")) is None


@each_case
def test_another_value_of_any_signed_header_is_refused(case: Case) -> None:
    request = case.request
    signed = [name for name in request.headers if name != "authorization"]

    for name in signed:
        assert signer(with_header(request, name, request.headers[name] + "x")) is None, name
        assert signer(with_header(request, name, "")) is None, name


@each_case
def test_one_other_digit_anywhere_in_the_signature_is_refused(case: Case) -> None:
    digits = case.signature

    for at, digit in enumerate(digits):
        forged = digits[:at] + digit.translate(ANOTHER_DIGIT) + digits[at + 1 :]
        assert signer(replace(case, signature=forged).request) is None, at


# --- the whole suite

# Signed as S3 does, which keeps `//` and `..` in a path. Every other service, ours among them,
# normalizes first, so these signatures are not good here.
# https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html
AS_FOR_S3 = {
    "get-relative-relative-unnormalized",
    "get-relative-unnormalized",
    "get-slash-dot-slash-unnormalized",
    "get-slash-pointless-dot-unnormalized",
    "get-slash-unnormalized",
    "get-slashes-unnormalized",
}


def test_the_whole_published_suite_agrees() -> None:
    folder = Path(os.environ.get("SIGV4_SUITE") or PROJECT.parent / "shared" / "vectors" / "sigv4")
    if not folder.is_dir():
        pytest.skip(f"no copy of AWS's suite in {folder}; name one in SIGV4_SUITE")
    found = {name: signer(request) for name, request in published(folder)}

    assert len(found) >= 38
    assert {name for name, arn in found.items() if arn is None} == AS_FOR_S3


def published(folder: Path) -> Iterator[tuple[str, Signed]]:
    for case in sorted(folder.glob("*/context.json")):
        context = json.loads(case.read_text())
        assert (context["region"], context["service"]) == ("us-east-1", "service")
        text = case.with_name("header-signed-request.txt").read_bytes()
        yield case.parent.name, read(text)


def read(text: bytes) -> Signed:
    """A request of the suite, whose request lines hold spaces and letters beyond ASCII."""
    head, _, body = text.partition(b"\n\n")
    # A folded line is one line; a repeated header is one with commas: RFC 9112 5.2, RFC 9110 5.3.
    # (`chalice local` itself hands on only the last of repeated headers, as does API Gateway.)
    line, *lines = re.sub(r"\n[ \t]+", " ", head.decode()).split("\n")
    method, target = line.removesuffix(" HTTP/1.1").split(" ", 1)
    path, _, query = target.partition("?")
    headers: dict[str, str] = {}
    for name, _, value in (header.partition(":") for header in lines):
        known = headers.get(name.lower())
        headers[name.lower()] = value if known is None else f"{known},{value}"
    return Signed(method, path, parsed(query), headers, body)


# --- whose, when and for what

VANILLA = CASES["get-vanilla"].request


@pytest.mark.parametrize("minutes", [-5, 5])
def test_a_signature_is_good_for_five_minutes_either_way(minutes: int) -> None:
    off = timedelta(minutes=minutes)

    assert signer(VANILLA, NOW + off) == ARN
    assert signer(VANILLA, NOW + off * 1.01) is None


def test_a_signature_for_another_service_is_refused() -> None:
    assert signer(VANILLA, service="execute-api") is None


def test_an_unknown_access_key_is_refused() -> None:
    assert (
        verified_arn(VANILLA, {"AKIDOTHER": KNOWN["AKIDEXAMPLE"]}, now=NOW, service="service")
        is None
    )
    assert verified_arn(VANILLA, {}, now=NOW, service="service") is None


def test_another_secret_is_refused() -> None:
    known = {"AKIDEXAMPLE": ("wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEZ", ARN)}

    assert verified_arn(VANILLA, known, now=NOW, service="service") is None


@pytest.mark.parametrize(
    "authorization",
    [
        "",
        "Bearer AKIDEXAMPLE",
        "AWS4-HMAC-SHA256",
        "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE",
        VANILLA.headers["authorization"].lower(),
        VANILLA.headers["authorization"] + "0",
        VANILLA.headers["authorization"] + "\n",
        VANILLA.headers["authorization"].replace("20150830", "20150831"),
        VANILLA.headers["authorization"].replace("us-east-1", "us-east-2"),
        VANILLA.headers["authorization"].replace("host;", ""),
        VANILLA.headers["authorization"].replace(";x-amz-date", ""),
        VANILLA.headers["authorization"].replace("host;x-amz-date", "x-amz-date;host;"),
        VANILLA.headers["authorization"].replace("SHA256", "SHA1"),
        VANILLA.headers["authorization"].replace("aws4_request", "aws5_request"),
    ],
)
def test_any_other_authorization_is_refused(authorization: str) -> None:
    assert signer(with_header(VANILLA, "authorization", authorization)) is None


@pytest.mark.parametrize("unsigned", ["host", "x-amz-date"])
def test_host_and_date_must_be_signed(unsigned: str) -> None:
    assert signer(signed_by_botocore()) == ARN
    assert signer(signed_by_botocore(without=unsigned)) is None


class Signer(SigV4Auth):
    """botocore's signer, made to leave one header out."""

    def __init__(self, without: str) -> None:
        secret, _ = KNOWN["AKIDEXAMPLE"]
        super().__init__(Credentials("AKIDEXAMPLE", secret), "service", "us-east-1")
        self._without = without

    def headers_to_sign(self, request: AWSRequest) -> HTTPHeaders:
        headers = super().headers_to_sign(request)
        del headers[self._without]
        return headers


def signed_by_botocore(without: str = "") -> Signed:
    signer = Signer(without)
    request = AWSRequest("GET", "https://example.amazonaws.com/", {"X-Amz-Date": DATE})
    request.context["timestamp"] = DATE
    to_sign = signer.string_to_sign(request, signer.canonical_request(request))
    headers = {"host": "example.amazonaws.com", "x-amz-date": DATE}
    headers["authorization"] = (
        f"AWS4-HMAC-SHA256 Credential={signer.scope(request)}, "
        f"SignedHeaders={signer.signed_headers(signer.headers_to_sign(request))}, "
        f"Signature={signer.signature(to_sign, request)}"
    )
    return Signed("GET", "/", {}, headers, b"")


@pytest.mark.parametrize("date", ["", "now", "2015-08-30T12:36:00Z", "20150830T123600", "٢٠١٥"])
def test_a_date_that_is_none_is_refused(date: str) -> None:
    assert signer(with_header(VANILLA, "x-amz-date", date)) is None


# --- LOCAL_IAM_CREDENTIALS


def test_credentials_are_keys_with_secrets_and_arns() -> None:
    value = "AKID1:s/e+c=:arn:aws:iam::123456789012:user/a, AKID2:t:arn:aws:sts::1:assumed-role/r/s"

    assert credentials(value) == {
        "AKID1": ("s/e+c=", "arn:aws:iam::123456789012:user/a"),
        "AKID2": ("t", "arn:aws:sts::1:assumed-role/r/s"),
    }


@pytest.mark.parametrize("value", ["", " ", ",", " , "])
def test_no_credentials_are_nobody(value: str) -> None:
    assert credentials(value) == {}


@pytest.mark.parametrize(
    "value",
    ["canary", "canary:canary", "canary:canary:user/a", ":canary:arn:aws", "canary::arn:aws", "::"],
)
def test_credentials_in_another_shape_name_the_variable_and_no_value(value: str) -> None:
    with pytest.raises(SettingError, match="LOCAL_IAM_CREDENTIALS") as refused:
        credentials(f"AKID1:s:arn:aws:iam::123456789012:user/a,{value}")

    assert "canary" not in str(refused.value)
