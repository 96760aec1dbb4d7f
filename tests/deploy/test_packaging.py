"""What packaging runs with; what comes of it is in tests/deploy/test_template.py."""

import json
import re
import subprocess
import sys
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import findpython
import pytest
from chalice.config import Config
from support.project import PROJECT

from hookshelf.deploy import package, template
from hookshelf.deploy.package import PackageRequest
from hookshelf.deploy.plan import package_request, usual_gaps


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., None]:
    """A machine that runs 3.11, with others besides; what ends in `-` makes no environments."""

    def install(*versions: str) -> None:
        for name in versions:
            python = tmp_path / f"python{name.removesuffix('-')}"
            python.write_text(f"#!/bin/sh\nexit {int(name.endswith('-'))}\n")
            python.chmod(0o755)

        def find(*version: int) -> SimpleNamespace | None:
            python = tmp_path / ("python" + ".".join(map(str, version)))
            return SimpleNamespace(executable=python) if python.exists() else None

        monkeypatch.setattr(findpython, "find", find)
        monkeypatch.setattr(package.sys, "version_info", (3, 11, 7))

    return install


@pytest.mark.parametrize(
    ("versions", "chosen"),
    [
        (["3.12", "3.13"], "python3.13"),
        (["3.12"], "python3.12"),
        (["3.14", "3.10", "3.12"], "python3.12"),
        (["3.12", "3.13-"], "python3.12"),  # Debian's own, without a package more
    ],
)
def test_the_newest_runtime_that_is_installed_packages(
    installed: Callable[..., None], versions: list[str], chosen: str
) -> None:
    installed(*versions)

    assert package.best_python().name == chosen


def test_where_only_the_oldest_is_installed_it_packages_and_says_how_long_that_is_supported(
    installed: Callable[..., None],
) -> None:
    installed()
    told: list[str] = []

    assert package.best_python(told.append) == Path(sys.executable)
    assert "only Python 3.11 was found, which Lambda supports until June 2027" in told[0]


def test_the_interpreter_that_runs_this_is_taken_as_it_is() -> None:
    assert package.with_chalice(Path(sys.executable)) == Path(sys.executable)


def test_secrets_that_are_kept_in_aws_are_not_fetched_to_package(tmp_path: Path) -> None:
    apps = {"pay": {"source": "stripe", "secrets": ["ssm:/shop/stripe"], "usual_gap": 900}}
    file = tmp_path / "apps.json"
    file.write_text(json.dumps(apps))
    environ = {"ARCHIVE_BUCKETS": "mine", "APPS_FILE": str(file)}
    request = package_request(environ, template.Options("dev"))

    assert usual_gaps(environ) == {"pay": 900}
    assert "parameter/shop/stripe" in json.dumps(request.policies)


def test_an_architecture_that_lambda_has_not_is_said(tmp_path: Path) -> None:
    request = PackageRequest("dev", {"ARCHIVE_BUCKETS": "b-1"}, architecture="sparc")

    with pytest.raises(package.PackagingFailed, match="lambda_architecture is 'sparc'"):
        package.build(request, tmp_path, python=Path(sys.executable))


def rendered(monkeypatch: pytest.MonkeyPatch, folder: Path, config: dict[str, Any]) -> Config:
    """What Chalice is given of a configuration."""
    (folder / ".chalice").mkdir()
    (folder / ".chalice" / "config.json").write_text(json.dumps(config))
    monkeypatch.setattr(package, "PROJECT_ROOT", folder)
    (folder / "project").mkdir()
    package._render(PackageRequest("dev"), folder / "project")
    config = json.loads((folder / "project" / ".chalice" / "config.json").read_text())
    return Config(chalice_stage="dev", config_from_disk=config)


@pytest.mark.parametrize(
    ("config", "architecture"),
    [
        ({"stages": {"dev": {}}}, "arm64"),
        ({"stages": {"dev": {}}, "lambda_architecture": "x86_64"}, "x86_64"),
        (
            {"stages": {"dev": {"lambda_architecture": "x86_64"}}, "lambda_architecture": "arm64"},
            "x86_64",
        ),
    ],
)
def test_the_architecture_of_the_configuration_is_the_one_packaged_for(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, config: dict[str, Any], architecture: str
) -> None:
    assert rendered(monkeypatch, tmp_path, config).lambda_architecture == architecture


def test_the_cache_of_wheels_survives_another_packaging(tmp_path: Path) -> None:
    cache = tmp_path / "project" / ".chalice" / "deployments"
    cache.mkdir(parents=True)
    (cache / "kept").touch()
    package._render(PackageRequest("dev"), tmp_path / "project")

    assert (cache / "kept").exists()


def test_settings_and_policies_go_into_the_copy(tmp_path: Path) -> None:
    request = PackageRequest("dev", {"ARCHIVE_BUCKETS": "mine"}, {"deliver": {"Version": "ours"}})
    package._render(request, tmp_path)
    config = json.loads((tmp_path / ".chalice" / "config.json").read_text())
    policy = config["stages"]["dev"]["lambda_functions"]["deliver"]["iam_policy_file"]

    assert config["stages"]["dev"]["environment_variables"] == {"ARCHIVE_BUCKETS": "mine"}
    assert json.loads((tmp_path / ".chalice" / policy).read_text()) == {"Version": "ours"}
    assert not list(tmp_path.rglob("__pycache__"))


def test_what_a_stage_says_of_its_functions_stays(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    own = {"lambda_functions": {"api_handler": {"lambda_memory_size": 1024}}}
    config = rendered(monkeypatch, tmp_path, {"stages": {"dev": own}}).config_from_disk

    assert config["stages"]["dev"]["lambda_functions"]["api_handler"] == {
        "lambda_memory_size": 1024,
        "iam_policy_file": "policy-dev-api_handler.json",
    }


def test_what_is_tested_here_is_what_ships() -> None:
    pins = (PROJECT / "requirements.txt").read_text(encoding="utf-8")
    pinned = dict(re.findall(r"^([\w.-]+)==(\S+) ", pins, re.MULTILINE))

    assert "pydantic" in pinned
    assert {name: version(name) for name in pinned} == pinned


@pytest.mark.slow
def test_no_two_packages_here_want_different_versions_of_a_third() -> None:
    check = subprocess.run(
        [sys.executable, "-m", "pip", "check", "--disable-pip-version-check"],
        capture_output=True,
        text=True,
        check=False,
    )

    assert check.returncode == 0, check.stdout
