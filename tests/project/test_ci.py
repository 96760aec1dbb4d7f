"""What CI runs, and on which Pythons: the same as the Makefile and pyproject.toml say."""

import re
import shutil
import subprocess
import tomllib
from typing import Any

import pytest
import yaml
from support.local_server import fresh_shell
from support.project import PROJECT

PYPROJECT = tomllib.loads((PROJECT / "pyproject.toml").read_text(encoding="utf-8"))
PACKAGE = PYPROJECT["project"]
WORKFLOWS = sorted((PROJECT / ".github" / "workflows").glob("*.yml"))
CHANGELOG = (PROJECT / "CHANGELOG.md").read_text(encoding="utf-8")

# The contexts of an expression that are there without anybody's set-up; `secrets` is not.
WITHOUT_SET_UP = {"github", "matrix"}


def workflow(name: str) -> Any:
    return yaml.safe_load((PROJECT / ".github" / "workflows" / name).read_text(encoding="utf-8"))


def commands(job: Any) -> list[str]:
    return [step["run"] for step in job["steps"] if "run" in step]


def supported() -> list[str]:
    """The Pythons that the classifiers name."""
    found = [re.fullmatch(r".* :: Python :: (3\.\d+)", name) for name in PACKAGE["classifiers"]]
    return [match[1] for match in found if match]


def would_run(*targets: str) -> list[str]:
    """The commands that make would run once everything is installed."""
    done = subprocess.run(
        ["make", "--dry-run", "--old-file=.venv/test.done", *targets],
        cwd=PROJECT,
        env=fresh_shell(),
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.splitlines()


def test_the_tests_run_on_every_python_that_the_package_supports() -> None:
    matrix = workflow("tests.yml")["jobs"]["test"]["strategy"]["matrix"]["python"]

    assert matrix == supported()


def test_the_oldest_python_is_the_one_that_everything_else_names() -> None:
    oldest = supported()[0]
    makefile = (PROJECT / "Makefile").read_text(encoding="utf-8")

    assert PACKAGE["requires-python"] == f">={oldest}"
    assert PYPROJECT["tool"]["mypy"]["python_version"] == oldest
    assert PYPROJECT["tool"]["ruff"]["target-version"] == "py" + oldest.replace(".", "")
    assert f"sys.version_info < ({oldest.replace('.', ', ')})" in makefile
    assert f"Python {oldest} or newer" in (PROJECT / "README.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_no_workflow_needs_a_secret_or_a_setting_of_the_repository(path: Any) -> None:
    expressions = re.findall(r"\$\{\{\s*(\w+)", path.read_text(encoding="utf-8"))

    assert set(expressions) <= WITHOUT_SET_UP


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_every_make_target_of_a_workflow_is_there(path: Any) -> None:
    jobs = yaml.safe_load(path.read_text(encoding="utf-8"))["jobs"]
    lines = [line for job in jobs.values() for run in commands(job) for line in run.splitlines()]
    targets = [line.split()[1] for line in lines if line.startswith("make ")]

    assert would_run(*targets) if targets else ".ci/run" in lines


def test_ci_runs_the_tests_for_every_save_and_then_the_slow_ones() -> None:
    script = (PROJECT / ".ci" / "run").read_text(encoding="utf-8")
    lines = [line for line in script.splitlines() if line.startswith("make ")]

    assert lines == ["make test", "make test-slow"]
    assert script.rstrip().endswith("make test-slow")  # so the last line is pytest's
    assert shutil.which("bash")


def test_every_test_runs_for_a_save_or_in_ci_or_is_heavy() -> None:
    pytest_ = ".venv/bin/pytest -q -n 3 --dist loadgroup --no-loadscope-reorder"

    assert would_run("test") == [
        ".venv/bin/ruff check .",
        ".venv/bin/ruff format --check .",
        ".venv/bin/mypy",
        f'{pytest_} -m "not slow and not heavy"',
    ]
    assert would_run("test-slow") == [f'{pytest_} -m "slow and not heavy"']
    assert would_run("test-all")[-1] == f"{pytest_} --hypothesis-profile=thorough"


def test_linting_installs_every_extra_of_the_package() -> None:
    """`make lint` installs requirements-dev.txt, and that is all that `make test` needs."""
    requirements = (PROJECT / "requirements-dev.txt").read_text(encoding="utf-8")
    extras = re.findall(r"^-e \.\[(.+)\]$", requirements, re.MULTILINE)

    assert [set(names.split(",")) for names in extras] == [set(PACKAGE["optional-dependencies"])]


def test_the_version_has_a_dated_section_in_the_changelog() -> None:
    heading = rf"^## \[{re.escape(PACKAGE['version'])}\] - \d{{4}}-\d\d-\d\d$"

    assert len(re.findall(heading, CHANGELOG, re.MULTILINE)) == 1


def test_the_sections_of_the_changelog_are_those_of_keep_a_changelog() -> None:
    kinds = re.findall(r"^### (.+)$", CHANGELOG, re.MULTILINE)

    assert re.findall(r"^## (.+)$", CHANGELOG, re.MULTILINE)[0] == "[Unreleased]"
    assert set(kinds) <= {"Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"}


def test_a_release_takes_its_notes_from_the_changelog(tmp_path: Any) -> None:
    check, notes, *_ = commands(workflow("release.yml")["jobs"]["release"])
    for name in ("CHANGELOG.md", "pyproject.toml"):
        shutil.copy(PROJECT / name, tmp_path)

    def step(script: str, tag: str) -> int:
        shell = fresh_shell() | {"GITHUB_REF_NAME": tag}
        done = subprocess.run(
            ["bash", "-e", "-c", script], cwd=tmp_path, env=shell, capture_output=True
        )
        return done.returncode

    assert step(check, "v" + PACKAGE["version"]) == 0
    assert step(check, "v99.0.0") != 0
    assert step(notes, "v99.0.0") != 0
    assert step(notes, "v" + PACKAGE["version"]) == 0
    assert (tmp_path / "notes.md").read_text().strip().startswith("#")
    assert "\n## " not in (tmp_path / "notes.md").read_text()
