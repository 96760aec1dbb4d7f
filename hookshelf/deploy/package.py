"""`make package`: the zip and the template of every stage there is to deploy, without AWS."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import click

from chalicelib.errors import HookshelfError
from chalicelib.models import read_apps
from chalicelib.settings import PROJECT_ROOT
from chalicelib.tokens import variable_name
from hookshelf.deploy import template
from hookshelf.deploy.deployment import HANDLERS
from hookshelf.deploy.packaging import Order, build
from hookshelf.deploy.policies import PLACEHOLDER, is_configured, policies
from hookshelf.settings import CONFIG, LOCAL_STAGE, stage_environment

Json = dict[str, Any]


def order(
    environ: Mapping[str, str],
    options: template.Options,
    *,
    kms_keys: Sequence[str] = (),
    partition: str = "aws",
    architecture: str = "arm64",
) -> Order:
    """What to package a stage with, for a stack: its settings, policies and our template."""
    return Order(
        stage=options.stage,
        environment=environ,
        policies=_policies(
            options.stage,
            environ,
            kms_keys=kms_keys,
            logs={name: template.arn_of(template.log_group(name)) for name in HANDLERS},
            dead_letters={
                name: template.arn_of(template.dead_letters(name)) for name in template.ASYNCHRONOUS
            },
            partition=partition,
        ),
        merge=template.merge_template(options),
        architecture=architecture,
    )


def usual_gaps(environ: Mapping[str, str]) -> dict[str, float]:
    """The apps of APPS_FILE that say how long they are silent at most, in seconds."""
    models = read_apps(environ)
    return {name: model.usual_gap for name, model in models.items() if model.usual_gap}


def stages() -> list[str]:
    """The stages of .chalice/config.json that can be deployed."""
    config = json.loads(CONFIG.read_text(encoding="utf-8"))
    return [name for name in config["stages"] if name != LOCAL_STAGE]


def _policies(stage: str, environ: Mapping[str, str], **others: Any) -> dict[str, Json]:
    if is_configured(environ):
        return policies(stage, environ, **others)
    # No bucket can be called like the placeholder, so that nothing can be written anywhere.
    lower = PLACEHOLDER.lower()
    found = policies(stage, {**environ, "ARCHIVE_BUCKETS": lower}, **others)
    renamed: dict[str, Json] = json.loads(json.dumps(found).replace(lower, PLACEHOLDER))
    return renamed


def main() -> None:
    """Package every stage, and say where."""
    parser = argparse.ArgumentParser(prog="python -m hookshelf.deploy.package", description=__doc__)
    parser.add_argument("--arch", default="arm64", choices=["arm64", "x86_64"])
    parser.add_argument("--into", type=Path, default=PROJECT_ROOT / "build")
    arguments = parser.parse_args()
    try:
        for stage in stages():
            print(_package(stage, arguments.arch, arguments.into / stage), flush=True)
    except click.ClickException as error:
        sys.exit(f"Error: {error.message}")
    except HookshelfError as error:
        sys.exit(f"Error: {error}")


def _package(stage: str, architecture: str, into: Path) -> str:
    environ = stage_environment(stage)
    options = template.Options(stage=stage, usual_gaps=usual_gaps(environ))
    package = build(order(environ, options, architecture=architecture), into)
    whole = template.with_variables(package.template, [variable_name(None)])
    path = package.zip.with_name("template.json")
    path.write_text(json.dumps(whole, indent=2) + "\n", encoding="utf-8")
    runtime = whole["Resources"]["APIHandler"]["Properties"]["Runtime"]
    size = f"{package.zip.stat().st_size / 1e6:.1f} MB"
    note = "" if is_configured(environ) else f", ARCHIVE_BUCKETS is still {PLACEHOLDER}"
    return f"{stage}: {package.zip} ({size}, {runtime}, {architecture}), {path.name}{note}"


if __name__ == "__main__":
    main()
