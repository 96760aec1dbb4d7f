"""`hookshelf token`: who may deliver to a deployed stage, without a token lying about anywhere."""

import json
import os
import pty
import re
import subprocess
import sys
from base64 import b64encode
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from support.project import PROJECT
from support.stage import deploy, hashed, live, shell

from app import app as lambda_handler
from hookshelf.__main__ import main
from hookshelf.commands import token as verb
from hookshelf.deploy.stage_variables import CLOSED

Run = Callable[..., Result]
Post = Callable[..., int]
pytestmark = pytest.mark.slow  # a stage on a server of AWS's, for each

SUBCOMMANDS = sorted(verb.command.commands)


@pytest.fixture
def run(moto_endpoint: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Run `hookshelf token` as a shell does that speaks to the moto server."""
    monkeypatch.chdir(tmp_path)
    return lambda *words: CliRunner().invoke(main, ["token", *words], env=shell(moto_endpoint))


@pytest.fixture
def post(folder_environ: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> Post:
    """Post to `/input` of a stage with these variables, as API Gateway does: the status."""
    for name, value in folder_environ.items():
        monkeypatch.setenv(name, value)

    def send(variables: dict[str, str], token: str, app: str = "shop") -> int:
        query = {"token": [token], "app": [app]}
        event = {
            "requestContext": {"httpMethod": "POST", "resourcePath": "/input", "requestId": "r-1"},
            "headers": {"content-type": "application/json"},
            "multiValueQueryStringParameters": query,
            "stageVariables": variables or None,
            "body": b64encode(b"{}").decode(),
            "isBase64Encoded": True,
        }
        answer = lambda_handler(event, None)
        assert token not in answer["body"]
        return answer["statusCode"]

    return send


def fingerprint(token: str) -> str:
    return sha256(token.encode()).hexdigest()[:12]


def shown_command(done: Result) -> list[str]:
    """The words of the `hookshelf token revoke` that was shown."""
    [line] = re.findall(r"^  hookshelf token (revoke .*)$", done.stderr, re.MULTILINE)
    return line.split()


def test_a_token_is_rotated_without_a_gap_and_lies_about_nowhere(
    moto_endpoint: str, run: Run, post: Post, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    stage = deploy(moto_endpoint, region="eu")
    said = []
    states = []

    def do(*words: str) -> Result:
        done = run(*words, "--stage", stage.stage)
        assert done.exit_code == 0, done.output
        said.append(done)
        states.append(live(moto_endpoint, stage))
        return done

    old = do("new").stdout.rstrip("\n")
    assert post(states[-1], old) == 200
    assert post(states[-1], "wrong") == 403

    rotated = do("rotate")
    new = rotated.stdout.rstrip("\n")
    assert post(states[-1], old) == post(states[-1], new) == 200

    words = shown_command(rotated)
    assert words == ["revoke", fingerprint(old), "--stage", stage.stage]
    do(*words[:2])
    assert post(states[-1], old) == 403
    assert post(states[-1], new) == 200
    do("list")
    do("list", "--json")

    assert states[-1] == {"region": "eu", "validToken": hashed(new)}
    kept = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert len([path for path in kept if path.suffix == ".json"]) == 4  # the deliveries let in
    captured = capfd.readouterr()
    everything = json.dumps(states) + captured.out + captured.err
    everything += "".join(f"{path} {path.read_text()}" for path in kept)
    everything += "".join(one.stderr for one in said)
    everything += "".join(one.stdout for one in said if one is not said[0] and one is not rotated)
    assert '"status": 403' in captured.out + captured.err  # what is searched is the log indeed
    assert old not in everything
    assert new not in everything


def test_only_the_token_goes_to_stdout_so_that_it_can_be_piped(
    moto_endpoint: str, run: Run
) -> None:
    stage = deploy(moto_endpoint)
    done = run("new", "--stage", stage.stage)

    assert re.fullmatch(r"[\w-]{43}\n", done.stdout, re.ASCII)
    assert f"{stage.url}/input?token=TOKEN&app=APP" in done.stderr
    assert fingerprint(done.stdout.strip()) in done.stderr
    assert "after some seconds" in done.stderr
    assert done.stdout.strip() not in done.stderr


def test_one_more_token_leaves_the_others(moto_endpoint: str, run: Run) -> None:
    stage = deploy(moto_endpoint, validToken="one,sha256:bad", validToken_shop="two")
    done = run("new", "--stage", stage.stage)

    assert live(moto_endpoint, stage) == {
        "validToken": f"one,sha256:bad,{hashed(done.stdout.strip())}",
        "validToken_shop": "two",
    }


def test_an_app_s_own_token_is_the_only_one_it_takes(
    moto_endpoint: str, run: Run, post: Post
) -> None:
    stage = deploy(moto_endpoint, validToken=hashed("stage-token"))
    done = run("new", "--stage", stage.stage, "--app", "my-shop", "--yes")
    own = done.stdout.strip()
    variables = live(moto_endpoint, stage)

    assert variables == {"validToken": hashed("stage-token"), "validToken_my__shop": hashed(own)}
    assert f"{stage.url}/input?token=TOKEN&app=my-shop" in done.stderr
    assert "the stage's no longer count for it" in done.stderr
    assert post(variables, own, "my-shop") == 200
    assert post(variables, "stage-token", "my-shop") == 403
    assert post(variables, own, "other") == 403
    assert post(variables, "stage-token", "other") == 200


def test_an_app_s_first_token_wants_a_yes_as_it_may_lock_a_sender_out(
    moto_endpoint: str, run: Run
) -> None:
    stage = deploy(moto_endpoint, validToken=hashed("stage-token"))
    done = run("new", "--stage", stage.stage, "--app", "shop")

    assert done.exit_code == 2
    assert "is locked out, with 403. Give --yes" in done.stderr
    assert done.stdout == ""
    assert live(moto_endpoint, stage) == {"validToken": hashed("stage-token")}


def test_an_app_s_second_token_wants_none(moto_endpoint: str, run: Run) -> None:
    stage = deploy(moto_endpoint, validToken_shop=hashed("first"))
    done = run("new", "--stage", stage.stage, "--app", "shop")

    assert done.exit_code == 0
    second = hashed(done.stdout.strip())
    assert live(moto_endpoint, stage) == {"validToken_shop": f"{hashed('first')},{second}"}


@pytest.mark.parametrize(("answer", "status", "made"), [(b"n\n", 1, False), (b"y\n", 0, True)])
def test_on_a_terminal_it_asks(moto_endpoint: str, answer: bytes, status: int, made: bool) -> None:
    stage = deploy(moto_endpoint, validToken=hashed("stage-token"))
    master, terminal = pty.openpty()
    os.write(master, answer)
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "hookshelf",
            "token",
            "new",
            "--stage",
            stage.stage,
            "--app",
            "shop",
        ],
        cwd=PROJECT,
        env={**os.environ, **shell(moto_endpoint)},
        stdin=terminal,
        capture_output=True,
        timeout=60,
    )
    os.close(master)
    os.close(terminal)

    assert done.returncode == status, done.stderr
    assert b"is locked out, with 403. Go on? [y/N]" in done.stderr
    assert len(done.stdout.splitlines()) == made
    assert ("validToken_shop" in live(moto_endpoint, stage)) == made


LISTED = {
    "validToken": f"canary-one,{hashed('two')},sha256:canary",
    "validToken_my__shop": hashed("three"),
    "validToken_closed": CLOSED,
    "region": "eu",
}


def test_the_list_names_every_token_and_shows_none(moto_endpoint: str, run: Run) -> None:
    done = run("list", "--stage", deploy(moto_endpoint, **LISTED).stage)

    assert [line.split() for line in done.stdout.splitlines()] == [
        ["VARIABLE", "APP", "FINGERPRINT", "KIND"],
        ["validToken", "(stage)", fingerprint("canary-one"), "plain"],
        ["validToken", "(stage)", fingerprint("two"), "hashed"],
        ["validToken", "(stage)", fingerprint("sha256:canary"), "unusable"],
        ["validToken_closed", "closed", fingerprint(CLOSED), "unusable"],
        ["validToken_my__shop", "my-shop", fingerprint("three"), "hashed"],
    ]
    assert "canary" not in done.output


def test_the_list_in_json_has_one_object_per_line(moto_endpoint: str, run: Run) -> None:
    stage = deploy(moto_endpoint, **LISTED)
    rows = run("list", "--stage", stage.stage, "--json").stdout.splitlines()
    own = run("list", "--stage", stage.stage, "--json", "--app", "my-shop").stdout.splitlines()

    assert len(rows) == 5
    assert json.loads(rows[0])["app"] is None
    assert [json.loads(row) for row in own] == [
        {
            "variable": "validToken_my__shop",
            "app": "my-shop",
            "fingerprint": fingerprint("three"),
            "kind": "hashed",
        }
    ]


@pytest.mark.parametrize(
    ("variables", "words", "said"),
    [
        ({}, [], "senders hear 503"),
        ({"validToken": CLOSED}, [], "senders hear 503"),
        ({"validToken": "x"}, ["--app", "shop"], "the stage's count for it"),
    ],
)
def test_where_no_token_is_usable_the_list_says_what_that_means(
    moto_endpoint: str, run: Run, variables: dict[str, str], words: list[str], said: str
) -> None:
    stage = deploy(moto_endpoint, **variables)
    done = run("list", "--stage", stage.stage, *words)

    assert done.exit_code == 0
    assert said in done.stderr
    assert f"hookshelf token new --stage {stage.stage}" in done.stderr


def test_the_command_that_rotating_shows_is_for_the_same_app(
    moto_endpoint: str, run: Run, post: Post
) -> None:
    stage = deploy(moto_endpoint, validToken_my__shop="plain-one," + hashed("two"))
    done = run("rotate", "--stage", stage.stage, "--app", "my-shop")
    words = shown_command(done)
    revoked = run(*words)

    old = [fingerprint("plain-one"), fingerprint("two")]
    assert words == ["revoke", *old, "--stage", stage.stage, "--app", "my-shop"]
    assert revoked.stdout.splitlines() == [
        f"Revoked: {', '.join(old)}",
        f"Still accepted: {fingerprint(done.stdout.strip())}",
    ]
    new = done.stdout.strip()
    assert live(moto_endpoint, stage) == {"validToken_my__shop": hashed(new)}


@pytest.mark.parametrize(
    ("variables", "words"),
    [({}, []), ({"validToken": CLOSED}, []), ({"validToken": "x"}, ["--app", "shop"])],
)
def test_there_is_nothing_to_rotate_without_a_usable_token(
    moto_endpoint: str, run: Run, variables: dict[str, str], words: list[str]
) -> None:
    stage = deploy(moto_endpoint, **variables)
    done = run("rotate", "--stage", stage.stage, *words)

    assert done.exit_code == 2
    assert "hookshelf token new" in done.stderr
    assert live(moto_endpoint, stage) == variables


@pytest.mark.parametrize("subcommand", ["new", "rotate"])
def test_an_eighth_hashed_token_does_not_fit(moto_endpoint: str, run: Run, subcommand: str) -> None:
    seven = ",".join(hashed(str(number)) for number in range(7))
    stage = deploy(moto_endpoint, validToken=seven)
    done = run(subcommand, "--stage", stage.stage)

    assert done.exit_code == 2
    assert "Revoke one first" in done.stderr
    assert done.stdout == ""
    assert live(moto_endpoint, stage) == {"validToken": seven}


def test_seven_hashed_tokens_fit(moto_endpoint: str, run: Run, post: Post) -> None:
    stage = deploy(moto_endpoint)
    made = [run("new", "--stage", stage.stage).stdout.strip() for _ in range(7)]
    variables = live(moto_endpoint, stage)

    assert len(variables["validToken"]) == 503
    assert [post(variables, token) for token in made] == [200] * 7


def test_a_name_too_long_for_a_variable_is_refused_before_anything_else(run: Run) -> None:
    app = "-".join("abcdefghijklmnopqrstuvwxy")
    done = run("new", "--stage", "never-deployed", "--app", app, "--yes")

    assert len(app) <= 50
    assert done.exit_code == 2
    assert "too long for tokens of its own uses the stage's" in done.stderr


def test_an_app_s_own_token_beside_a_hundred_variables_is_refused(
    moto_endpoint: str, run: Run
) -> None:
    full = {f"v{number}": "x" for number in range(100)}
    stage = deploy(moto_endpoint, **full)
    done = run("new", "--stage", stage.stage, "--app", "shop", "--yes")

    assert done.exit_code == 2
    assert "API Gateway takes 100" in done.stderr
    assert live(moto_endpoint, stage) == full


def two_alike() -> tuple[str, str, str]:
    """Two tokens whose fingerprints begin with the same four digits, and these."""
    seen: dict[str, str] = {}
    for number in range(100_000):
        begins = fingerprint(str(number))[:4]
        if begins in seen:
            return seen[begins], str(number), begins
        seen[begins] = str(number)
    raise AssertionError


ALIKE, OTHER_ALIKE, BEGINS = two_alike()
REFUSED = {
    "an unknown one": (["0" * 12], "No token 000000000000 in validToken. See"),
    "a known one and an unknown one": ([fingerprint("one"), "0" * 12], "No token 000000000000"),
    "one that is not the only one": ([BEGINS], "the beginning of several"),
    "too little of it": ([fingerprint("one")[:3]], "4 to 12 hex digits"),
    "too much of it": ([sha256(b"one").hexdigest()], "4 to 12 hex digits"),
    "an app's": ([fingerprint("shop-one")], "it is in validToken_shop: give --app shop"),
    "a token itself": (["canary-token"], "4 to 12 hex digits"),
    "nothing": ([], "Give fingerprints, or --old, or --all"),
    "two ways at once": (["--old", fingerprint("one")], "Give fingerprints, or --old, or --all"),
    "all that are usable": (
        [fingerprint(token) for token in ("one", ALIKE, OTHER_ALIKE, "canary-token")],
        "That would leave no token",
    ),
}


@pytest.mark.parametrize(("words", "reason"), REFUSED.values(), ids=REFUSED)
def test_a_refused_revocation_changes_nothing(
    moto_endpoint: str, run: Run, words: list[str], reason: str
) -> None:
    hashes = ",".join(map(hashed, ["one", ALIKE, OTHER_ALIKE]))
    variables = {"validToken": f"{hashes},canary-token,sha256:bad", "validToken_shop": "shop-one"}
    stage = deploy(moto_endpoint, **variables)
    done = run("revoke", *words, "--stage", stage.stage)

    assert done.exit_code == 2
    assert reason in done.stderr
    assert "canary" not in done.output
    assert live(moto_endpoint, stage) == variables


def test_a_stage_s_token_is_not_sought_among_an_app_s(moto_endpoint: str, run: Run) -> None:
    stage = deploy(moto_endpoint, validToken="one", validToken_shop="two,three")
    done = run("revoke", fingerprint("one"), "--stage", stage.stage, "--app", "shop")

    assert done.exit_code == 2
    assert "it is in validToken: leave out --app" in done.stderr


def test_a_token_is_revoked_however_often_and_however_it_is_written(
    moto_endpoint: str, run: Run, post: Post
) -> None:
    stage = deploy(moto_endpoint, validToken=f"one,{hashed('one')},two")
    done = run("revoke", fingerprint("one")[:9].upper(), "--stage", stage.stage)

    assert done.exit_code == 0
    assert done.stdout.splitlines()[0] == f"Revoked: {fingerprint('one')}"
    assert live(moto_endpoint, stage) == {"validToken": "two"}


def test_revoking_the_old_ones_leaves_the_newest_usable_one(moto_endpoint: str, run: Run) -> None:
    stage = deploy(moto_endpoint, validToken="one,sha256:bad,two,three,sha256:worse")
    first = run("revoke", "--old", "--stage", stage.stage)
    again = run("revoke", "--old", "--stage", stage.stage)

    assert live(moto_endpoint, stage) == {"validToken": "three"}
    assert first.exit_code == again.exit_code == 0
    assert "Revoked: none" in again.stdout


def test_revoking_all_closes_the_stage_so_that_senders_try_again(
    moto_endpoint: str, run: Run, post: Post
) -> None:
    stage = deploy(moto_endpoint, validToken="one,two")
    done = run("revoke", "--all", "--stage", stage.stage)

    assert live(moto_endpoint, stage) == {"validToken": CLOSED}
    assert "senders hear 503" in done.stdout
    assert post(live(moto_endpoint, stage), "one") == 503

    token = run("new", "--stage", stage.stage).stdout.strip()
    assert live(moto_endpoint, stage) == {"validToken": hashed(token)}
    assert post(live(moto_endpoint, stage), token) == 200


def test_what_closed_a_stage_is_no_token_to_revoke(moto_endpoint: str, run: Run) -> None:
    stage = deploy(moto_endpoint, validToken=CLOSED)
    by_name = run("revoke", fingerprint(CLOSED), "--stage", stage.stage)
    every = run("revoke", "--all", "--stage", stage.stage)

    assert by_name.exit_code == 2
    assert every.stdout.startswith("Revoked: none\nClosed")
    assert live(moto_endpoint, stage) == {"validToken": CLOSED}


def test_an_unusable_member_can_go_where_no_token_is_usable(moto_endpoint: str, run: Run) -> None:
    stage = deploy(moto_endpoint, validToken_shop="sha256:bad")
    done = run("revoke", fingerprint("sha256:bad"), "--stage", stage.stage, "--app", "shop")

    assert done.exit_code == 0
    assert live(moto_endpoint, stage) == {"validToken_shop": CLOSED}


def test_a_closed_app_does_not_fall_back_to_the_stage_s_tokens(
    moto_endpoint: str, run: Run, post: Post
) -> None:
    stage = deploy(moto_endpoint, validToken="stage-token", validToken_my__shop="one")
    done = run("revoke", "--all", "--stage", stage.stage, "--app", "my-shop")
    variables = live(moto_endpoint, stage)

    assert variables == {"validToken": "stage-token", "validToken_my__shop": CLOSED}
    assert f"hookshelf token new --stage {stage.stage} --app my-shop" in done.stdout
    assert post(variables, "stage-token", "my-shop") == 503
    assert post(variables, "stage-token", "other") == 200


def test_an_app_without_tokens_of_its_own_has_none_to_revoke(moto_endpoint: str, run: Run) -> None:
    stage = deploy(moto_endpoint, validToken="one")
    done = run("revoke", "--all", "--stage", stage.stage, "--app", "shop")

    assert done.exit_code == 2
    assert "has no tokens of its own" in done.stderr
    assert live(moto_endpoint, stage) == {"validToken": "one"}


@pytest.mark.parametrize("words", [["new"], ["rotate"], ["revoke", fingerprint("one")]])
def test_whoever_changes_tokens_hears_what_a_wrong_one_costs(
    moto_endpoint: str, run: Run, words: list[str]
) -> None:
    done = run(*words, "--stage", deploy(moto_endpoint, validToken="one,two").stage)

    assert "SendGrid's Event Webhook tries again for 24 hours" in done.stderr
    assert "Inbound Parse" in done.stderr
    assert "GitHub never tries again" in done.stderr


@pytest.mark.parametrize("words", [["new"], ["list"], ["rotate"], ["revoke", "--old"]])
def test_stage_local_has_its_tokens_elsewhere(run: Run, words: list[str]) -> None:
    done = run(*words, "--stage", "local")

    assert done.exit_code == 2
    assert "STAGE_VAR_validToken in .chalice/config.json" in done.stderr


def test_a_stage_that_is_not_deployed_is_misuse(run: Run) -> None:
    done = run("new", "--stage", "nowhere")

    assert done.exit_code == 2
    assert "Stage nowhere is not deployed" in done.stderr


def test_a_token_typed_for_the_app_is_not_repeated(run: Run) -> None:
    done = run("new", "--app", "_canary-token_")

    assert done.exit_code == 2
    assert "Invalid value for '--app'" in done.stderr
    assert "canary" not in done.output


@pytest.mark.parametrize("subcommand", SUBCOMMANDS)
def test_each_subcommand_has_help_with_examples_of_options_there_are(subcommand: str) -> None:
    done = CliRunner().invoke(main, ["token", subcommand, "--help"])
    params = verb.command.commands[subcommand].params
    options = [param for param in params if param.param_type_name == "option"]
    examples = re.findall(rf"^ +hookshelf token {subcommand}\b(.*)$", done.stdout, re.MULTILINE)
    used = set(re.findall(r"--[a-z-]+", " ".join(examples)))

    assert "Exit status:" in done.stdout
    assert {"--stage"} <= used <= {name for option in options for name in option.opts}
    assert [option.name for option in options if not option.help] == []
    assert "[default: dev]" in done.stdout
