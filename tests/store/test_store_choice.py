"""Which client speaks to S3: obstore where it can do what is asked, boto3 where it cannot."""

import json
import os
import shutil
import subprocess
import sys
import uuid

import pytest
from support.project import CREDENTIALS, PROJECT, Context, post
from support.stores import CLIENTS

from chalicelib import log, responses
from chalicelib.settings import SettingError, from_environment
from chalicelib.store import StoreModule, open_store, store_named, store_names

ARN = "arn:aws:s3:us-east-1:123456789012:accesspoint/point-"
BEYOND_OBSTORE = {
    "a profile": {"AWS_PROFILE": "work"},
    "AWS_USE_FIPS_ENDPOINT": {"AWS_USE_FIPS_ENDPOINT": "true"},
    "AWS_USE_DUALSTACK_ENDPOINT": {"AWS_USE_DUALSTACK_ENDPOINT": "true"},
    "AWS_CA_BUNDLE": {"AWS_CA_BUNDLE": "/etc/ssl/certs/ca-certificates.crt"},
    "an access point": {"ARCHIVE_BUCKETS": ARN},
    "the China partition": {"AWS_REGION": "cn-north-1"},
}
NO_CREDENTIALS = "credentials that are not in the environment"


@pytest.fixture
def aws(monkeypatch, tmp_path):
    """Set the environment to plain credentials, a bucket that was never opened, and more."""
    (tmp_path / "config").write_text("[profile work]\nregion = eu-west-1\n")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    monkeypatch.setenv("ARCHIVE_BUCKETS", f"bucket-{uuid.uuid4().hex}")
    log.configure({})

    def set_up(**environ):
        if environ.get("ARCHIVE_BUCKETS") == ARN:
            environ["ARCHIVE_BUCKETS"] += uuid.uuid4().hex
        for name, value in {**CREDENTIALS, **environ}.items():
            monkeypatch.setenv(name, value)

    return set_up


def _open():
    settings = from_environment(os.environ)
    return open_store(settings, settings.allowed_path(None).bucket)


def _logged(capsys):
    return [json.loads(line) for line in capsys.readouterr().err.splitlines()]


@pytest.mark.parametrize("client", ["auto", "obstore", ""])
def test_plain_credentials_are_for_obstore(client, aws, capsys):
    aws(ARCHIVE_CLIENT=client)

    store = _open()

    assert type(store).__name__ == "ObstoreStore"
    assert _logged(capsys) == []


@pytest.mark.parametrize("switch", ["AWS_USE_FIPS_ENDPOINT", "AWS_USE_DUALSTACK_ENDPOINT"])
def test_what_is_switched_off_is_not_asked_for(switch, aws):
    aws(**{switch: "false"})

    assert type(_open()).__name__ == "ObstoreStore"


@pytest.mark.parametrize("why", BEYOND_OBSTORE)
def test_what_obstore_would_ignore_is_for_boto3_and_one_line_says_why(why, aws, capsys):
    aws(**BEYOND_OBSTORE[why])

    stores = [_open(), _open()]

    assert type(stores[0]).__name__ == "Boto3Store"
    assert stores[0] is stores[1]
    (line,) = _logged(capsys)
    assert (line["client"], line["why"]) == ("boto3", why)


def test_credentials_that_are_elsewhere_are_for_boto3(aws, monkeypatch, capsys):
    aws()
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")

    store = _open()

    assert type(store).__name__ == "Boto3Store"
    assert [line["why"] for line in _logged(capsys)] == [NO_CREDENTIALS]


@pytest.mark.parametrize("missing", ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"])
def test_half_of_the_credentials_store_nothing(missing, aws, monkeypatch):
    aws()
    monkeypatch.delenv(missing)

    status, _, said = post(b"{}", Context(seconds=1))  # it would try again for as long as it may

    assert (status, said["reason"]) == (503, responses.NOT_STORED.reason)


@pytest.mark.parametrize("why", BEYOND_OBSTORE)
def test_to_force_obstore_where_it_would_ignore_a_setting_is_an_error(why, aws):
    aws(**BEYOND_OBSTORE[why], ARCHIVE_CLIENT="obstore")

    with pytest.raises(SettingError, match=why) as raised:
        _open()

    assert raised.value.variable == "ARCHIVE_CLIENT"
    assert "Use auto or boto3" in str(raised.value)


def test_a_sender_hears_503_while_the_client_is_wrong(aws):
    aws(AWS_USE_FIPS_ENDPOINT="true", ARCHIVE_CLIENT="obstore")

    status, headers, said = post(b"{}")

    assert (status, headers["Retry-After"]) == (503, str(responses.RETRY_AFTER))
    assert said["reason"] == responses.wrong_setting("ARCHIVE_CLIENT").reason


def test_an_unknown_client_is_an_error(aws):
    aws(ARCHIVE_CLIENT="Boto3")

    with pytest.raises(SettingError, match=CLIENTS):
        _open()


def test_a_store_is_found_by_its_module_and_named_by_its_file():
    assert {"boto3", "folder", "obstore"} <= store_names()
    assert {type(store_named(name)) for name in store_names()} == {StoreModule}
    with pytest.raises(KeyError):
        store_named("_retry")


def test_a_folder_that_is_asked_for_needs_its_setting(aws):
    aws(ARCHIVE_CLIENT="folder")

    with pytest.raises(SettingError, match="ARCHIVE_FOLDER is not set"):
        _open()


def test_boto3_can_be_forced(aws, capsys):
    aws(ARCHIVE_CLIENT="boto3")

    store = _open()

    assert type(store).__name__ == "Boto3Store"
    assert _logged(capsys) == []  # who asked for it need not be told why


@pytest.mark.parametrize("client", ["auto", "obstore", "boto3"])
def test_a_folder_is_a_folder_whatever_else_is_set(client, aws, tmp_path):
    folder = str(tmp_path / "archive")
    aws(ARCHIVE_FOLDER=folder, ARCHIVE_CLIENT=client, AWS_USE_FIPS_ENDPOINT="true")

    assert type(_open()).__name__ == "FolderStore"


def test_a_profile_that_does_not_exist_stores_nothing(aws):
    aws(AWS_PROFILE="nobody")

    status, _, said = post(b"{}")

    assert (status, said["reason"]) == (503, responses.NOT_STORED.reason)


# What is imported on the way to S3, in a process of its own.

HEAVY = {"boto3", "botocore", "pydantic", "cryptography", "click", "hookshelf"}
SLOW = {"dataclasses", "inspect", "pkgutil", "random"}  # each a good part of what Chalice costs
LOADED = "\nimport sys; print(*sorted({name.partition('.')[0] for name in sys.modules}))"


def _loaded(script, environ):
    """The top-level packages a script has loaded when it ends."""
    plain = {"PATH": os.environ["PATH"], "NO_PROXY": "127.0.0.1"}
    done = subprocess.run(
        [sys.executable, "-c", script + LOADED],
        cwd=PROJECT,
        env={**plain, "PYTHONPATH": f"{PROJECT}:{PROJECT / 'tests'}", **environ},
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    return set(done.stdout.splitlines()[-1].split())


def test_importing_the_app_needs_no_setting_and_loads_nothing_heavy():
    loaded = _loaded("import app", {})

    assert {"app", "chalice", "chalicelib"} <= loaded
    assert loaded & (HEAVY | SLOW | {"obstore"}) == set()


DELIVER = """
import app
event = {"requestContext": {"httpMethod": "POST", "resourcePath": "/input"},
         "multiValueQueryStringParameters": {"token": ["t-t-t"], "app": ["shop"]},
         "stageVariables": {"validToken": "t-t-t"}, "headers": {}, "body": "{}"}
status = app.app(event, None)["statusCode"]
assert status == 200, status
"""


@pytest.mark.parametrize(
    ("client", "loads"), [("auto", {"obstore"}), ("obstore", {"obstore"}), ("boto3", {"boto3"})]
)
def test_a_delivery_loads_the_one_client_it_needs(client, loads, s3_environ):
    loaded = _loaded(DELIVER, {**s3_environ, "ARCHIVE_CLIENT": client})

    assert loads <= loaded
    assert loaded & {"obstore", "boto3"} == loads
    assert loaded & (HEAVY - {"boto3", "botocore"}) == set()
    assert ("botocore" in loaded) == (client == "boto3")
    assert client == "boto3" or loaded & SLOW == set()


def test_a_delivery_to_a_folder_loads_no_boto3(tmp_path):
    loaded = _loaded(DELIVER, {"ARCHIVE_FOLDER": str(tmp_path), "ARCHIVE_BUCKETS": "events"})

    assert loaded & HEAVY == set()


AZURE = """
from chalicelib.store import StoreModule
STORE = StoreModule(open=lambda settings, bucket: settings.of_store, variables=("AZURE_ACCOUNT",))
"""
OPEN = """
import os
import shutil
from chalicelib.settings import from_environment
from chalicelib.store import open_store
print(open_store(from_environment(os.environ), "events"))
"""


@pytest.mark.parametrize(
    ("client", "given"), [("azure", "(('AZURE_ACCOUNT', 'ours'),)"), ("boto3", "Boto3Store")]
)
def test_a_new_store_gets_the_variables_it_names_and_no_other_does(client, given, tmp_path):
    shutil.copytree(PROJECT / "chalicelib", tmp_path / "chalicelib")
    (tmp_path / "chalicelib" / "store" / "azure.py").write_text(AZURE)
    environ = {"ARCHIVE_CLIENT": client, "AZURE_ACCOUNT": "ours", "AZURE_KEY": "no business"}

    done = subprocess.run(
        [sys.executable, "-c", OPEN],
        cwd=tmp_path,
        env={**CREDENTIALS, **environ, "ARCHIVE_BUCKETS": "events", "PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )

    assert given in done.stdout
    assert "no business" not in done.stdout
