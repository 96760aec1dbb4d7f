"""`hookshelf prove`: a zip whose own verify.sh says whether it holds."""

import json
import subprocess
import zipfile
from datetime import timedelta
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from support.archives import archive_of, moment

from chalicelib.archive import to_object
from chalicelib.delivery import Delivery
from chalicelib.settings import from_environment
from chalicelib.sources import source_named
from chalicelib.store import open_store
from hookshelf.__main__ import main
from hookshelf.local.tryout import public_key_of, signing_key

NOON = moment("2026-11-18T12:00")
NOW = moment("2026-11-20T12:00")
SECRET = "a secret that is shared"


@pytest.fixture
def environ(folder_environ: dict[str, str], tmp_path: Path) -> dict[str, str]:
    public = public_key_of(signing_key(source_named("sendgrid")))
    apps = {
        "mail": {"source": "sendgrid", "public_keys": [public]},
        "shop": {"source": "github", "secrets": [SECRET]},
    }
    (tmp_path / "apps.json").write_text(json.dumps(apps))
    return {**folder_environ, "APPS_FILE": str(tmp_path / "apps.json")}


def received(environ: dict[str, str], app: str = "mail", n: int = 0, key: str = "") -> str:
    source = source_named("sendgrid" if app == "mail" else "github")
    assert source.example and source.sign
    body = source.example(n, 1_795_000_000)
    key = key or (signing_key(source) if app == "mail" else SECRET)
    headers = source.sign(body, key, 1_795_000_000) | {"content-type": "application/json"}
    obj = to_object(Delivery(app, headers, body, NOON + timedelta(hours=n)), source)
    open_store(from_environment(environ), "events").put(obj)
    return obj.key


def prove(environ: dict[str, str], *arguments: str) -> Result:
    return CliRunner().invoke(main, ["prove", *arguments], env=environ)


def case(environ: dict[str, str], folder: Path, *arguments: str) -> Path:
    """The unpacked folder of what was proved."""
    done = prove(environ, *arguments, "--out", str(folder / "case.zip"))
    assert done.exit_code == 0, done.output
    with zipfile.ZipFile(folder / "case.zip") as zipped:
        zipped.extractall(folder / "case")
    return folder / "case"


def run(folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["sh", "verify.sh"], cwd=folder, capture_output=True, text=True)


@pytest.mark.parametrize("kept", ["raw", "compacted"])
def test_it_holds_by_openssl_and_sha256sum_alone(environ, tmp_path, kept):
    key = received(environ)
    list(archive_of(environ, NOW).compact())
    raw = Path(environ["ARCHIVE_FOLDER"], "events", key)
    body = raw.read_bytes()
    if kept == "compacted":
        raw.unlink()
    folder = case(environ, tmp_path, key)
    done = run(folder)

    assert done.returncode == 0, done.stderr
    assert (folder / "body.json").read_bytes() == body
    assert (folder / "manifest-00000001.json").exists()


@pytest.mark.parametrize("app", ["mail", "shop"])
@pytest.mark.slow
def test_one_flipped_byte_in_any_file_is_detected(environ, tmp_path, app):
    key = received(environ, app)
    received(environ, app, 30)
    list(archive_of(environ, NOW).compact())
    folder = case(environ, tmp_path, key, "--event", "0")
    assert run(folder).returncode == 0
    names = sorted(path.name for path in folder.iterdir())

    assert {"README.txt", "SHA256SUMS", "body.json", "event.json", "headers.txt"} < set(names)
    assert names.count("public-key.pem") == (app == "mail")
    for name in set(names) - {"verify.sh"}:
        whole = (folder / name).read_bytes()
        for at in {0, len(whole) // 2, len(whole) - 1} if whole else ():
            flipped = whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :]
            (folder / name).write_bytes(flipped)
            assert run(folder).returncode != 0, (name, at)
        if not whole:
            (folder / name).write_bytes(b"x")
            assert run(folder).returncode != 0, name
        (folder / name).write_bytes(whole)
    assert run(folder).returncode == 0


def test_another_signature_or_key_is_detected_whatever_the_sums_say(environ, tmp_path):
    """SHA256SUMS and verify.sh made anew, as a forger would: the signature still has to hold."""
    from hashlib import sha256

    folder = case(environ, tmp_path, received(environ))
    body = (folder / "body.json").read_bytes()
    forged = body.replace(b"recipient-0", b"recipient-1")
    (folder / "body.json").write_bytes(forged)
    (folder / "signed.bin").write_bytes((folder / "signed-before.bin").read_bytes() + forged)
    script = (folder / "verify.sh").read_text()
    sums = (folder / "SHA256SUMS").read_text()
    for name in ("body.json", "signed.bin"):
        old = next(line.split()[0] for line in sums.splitlines() if line.endswith(f"  {name}"))
        new = sha256((folder / name).read_bytes()).hexdigest()
        sums, script = sums.replace(old, new), script.replace(old, new)
    old = sha256((folder / "SHA256SUMS").read_bytes()).hexdigest()
    (folder / "SHA256SUMS").write_text(sums)
    (folder / "verify.sh").write_text(script.replace(old, sha256(sums.encode()).hexdigest()))
    done = run(folder)

    assert done.returncode != 0
    assert "the signature is not good" in done.stderr


def test_the_readme_says_what_is_proved_and_what_is_not(environ, tmp_path):
    readme = (case(environ, tmp_path, received(environ)) / "README.txt").read_text()

    assert "The holder of its private key signed these bytes" in readme
    assert "Whose key it is, this does not prove" in readme
    assert "does not prove: when the delivery was received" in readme
    assert "apps.json, app mail, public_keys[0]" in readme


def test_of_a_shared_secret_it_says_that_who_holds_it_could_have_forged_it(environ, tmp_path):
    folder = case(environ, tmp_path, received(environ, "shop"))

    assert "could have forged it" in (folder / "README.txt").read_text()
    assert run(folder).returncode == 0
    assert SECRET not in "".join(path.read_text("latin-1") for path in folder.iterdir())


def test_a_day_that_the_log_does_not_tell_about_is_said_and_no_fault(environ, tmp_path):
    folder = case(environ, tmp_path, received(environ))

    assert "does not name it yet" in (folder / "README.txt").read_text()
    assert run(folder).returncode == 0


def test_an_event_is_found_by_its_id_and_its_place_is_checked(environ, tmp_path):
    key = received(environ)
    event = list(archive_of(environ, NOW).find("recipient-0@example.com"))[1]
    folder = case(environ, tmp_path, event.id)
    body = Path(environ["ARCHIVE_FOLDER"], "events", key).read_bytes()

    assert (folder / "event.json").read_bytes() == event.data.encode()
    assert f"{body.index(event.data.encode())}" in (folder / "verify.sh").read_text()
    assert run(folder).returncode == 0


def test_what_is_not_verified_is_not_proved(environ, tmp_path):
    forged = received(environ, "shop", key="another secret")
    done = prove(environ, forged, "--out", str(tmp_path / "case.zip"))

    assert done.exit_code == 1
    assert "is bad: only what is verified can be proved" in done.stderr
    assert not (tmp_path / "case.zip").exists()


def test_nothing_is_overwritten_and_a_dry_run_writes_nothing(environ, tmp_path):
    key = received(environ)
    out = tmp_path / "case.zip"
    dry = prove(environ, key, "--out", str(out), "--dry-run", "--json")

    assert (dry.exit_code, out.exists()) == (0, False)
    assert "verify.sh" in json.loads(dry.stdout)["files"]
    out.write_bytes(b"mine")
    assert prove(environ, key, "--out", str(out)).exit_code == 2
    assert out.read_bytes() == b"mine"


def test_what_is_not_there_is_said(environ, tmp_path):
    received(environ)

    assert prove(environ, "0000", "--out", str(tmp_path / "case.zip")).exit_code == 1
