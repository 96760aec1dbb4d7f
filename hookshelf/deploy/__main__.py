"""`make package`: the zip and the template of every stage there is to deploy, without AWS."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from chalicelib.errors import HookshelfError, MisuseError
from chalicelib.settings import SettingError, from_environment
from chalicelib.tokens import variable_name
from hookshelf.deploy import template
from hookshelf.deploy.package import build
from hookshelf.deploy.plan import package_request, refuse_plain_secrets, usual_gaps
from hookshelf.deploy.policies import PLACEHOLDER, is_configured
from hookshelf.project import PROJECT_ROOT
from hookshelf.settings import CONFIG, LOCAL_STAGE, stage_environment


def main() -> None:
    """Package every stage, and say where."""
    parser = argparse.ArgumentParser(prog="python -m hookshelf.deploy", description=__doc__)
    parser.add_argument(
        "--arch",
        choices=["arm64", "x86_64"],
        help="Default: lambda_architecture of .chalice/config.json.",
    )
    parser.add_argument(
        "--bucket",
        metavar="NAME[/PATH]",
        help=f"For stages whose ARCHIVE_BUCKETS is still {PLACEHOLDER} in .chalice/config.json.",
    )
    parser.add_argument(
        "--no-compactor", action="store_true", help="Without the scheduled compactor."
    )
    parser.add_argument("--into", type=Path, default=PROJECT_ROOT / "build")
    arguments = parser.parse_args()
    config = json.loads(CONFIG.read_text(encoding="utf-8"))
    stages = [name for name in config["stages"] if name != LOCAL_STAGE]
    try:
        # All are checked before the first is packaged, which takes a while.
        environs = {stage: _environment(stage, arguments.bucket) for stage in stages}
        for stage, environ in environs.items():
            options = template.Options(
                stage=stage, usual_gaps=usual_gaps(environ), compactor=not arguments.no_compactor
            )
            into = arguments.into / stage
            print(_package(environ, options, arguments.arch, into), flush=True)
    except MisuseError as error:
        parser.exit(2, f"Error: {error}\n")
    except (HookshelfError, SettingError) as error:
        sys.exit(f"Error: {error}")


def _environment(stage: str, bucket: str | None) -> dict[str, str]:
    """The settings of a stage. Raises MisuseError where no bucket is named."""
    environ = stage_environment(stage)
    if not is_configured(environ):
        if not bucket:
            raise MisuseError(
                f"ARCHIVE_BUCKETS of stage {stage} is still {PLACEHOLDER}. Put the bucket's name "
                f"into {CONFIG}, or give it here: make package BUCKET=NAME"
            )
        environ["ARCHIVE_BUCKETS"] = bucket
    from_environment(environ)
    refuse_plain_secrets(environ)
    return environ


def _package(
    environ: dict[str, str], options: template.Options, architecture: str | None, into: Path
) -> str:
    request = package_request(environ, options, architecture=architecture)
    package = build(request, into, lambda line: print(line, file=sys.stderr, flush=True))
    whole = template.with_variables(package.template, [variable_name(None)])
    whole["Metadata"] = template.metadata(archive_buckets=environ["ARCHIVE_BUCKETS"])
    path = package.zip.with_name("template.json")
    path.write_text(json.dumps(whole, indent=2) + "\n", encoding="utf-8")
    names = [path.name, *([package.compactor.name] if package.compactor else [])]
    return f"{options.stage}: {package.zip} ({package.description}), {', '.join(names)}"


if __name__ == "__main__":
    main()
