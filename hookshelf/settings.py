"""The settings a verb works with: the environment's, else those of a Chalice stage.

The Lambda reads its environment; a desk usually has none, so that `hookshelf verify` right after
`make run` looks where `make run` archives: at stage `local`.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path

import click

from chalicelib.settings import PROJECT_ROOT

CONFIG = PROJECT_ROOT / ".chalice" / "config.json"
STAGE = "local"


def stage_environment(stage: str) -> dict[str, str]:
    """The environment variables .chalice/config.json gives a stage.

    A relative ARCHIVE_FOLDER is counted from the project, where `chalice local` runs.
    """
    try:
        config = json.loads(CONFIG.read_text(encoding="utf-8"))
        layers = config, config["stages"][stage]
    except OSError as error:
        raise click.UsageError(f"{CONFIG}: {error.strerror}. Set ARCHIVE_BUCKETS") from None
    except KeyError:
        raise click.UsageError(f"No stage {stage!r} in {CONFIG}") from None
    except (ValueError, TypeError) as error:
        raise click.UsageError(f"{CONFIG} has no readable stage `{stage}`: {error!r}") from None
    found = {k: v for layer in layers for k, v in layer.get("environment_variables", {}).items()}
    for name in [name for name, value in found.items() if not isinstance(value, str)]:
        raise click.UsageError(f"{name} of stage {stage!r} in {CONFIG} has to be in quotes")
    if "ARCHIVE_FOLDER" in found:
        found["ARCHIVE_FOLDER"] = str(PROJECT_ROOT / Path(found["ARCHIVE_FOLDER"]).expanduser())
    return found


def environment(stage: str | None = None) -> Mapping[str, str]:
    """What a verb reads settings from.

    With a stage, its variables beat the shell's, as Chalice has it; without one the shell's count,
    or stage `local` where ARCHIVE_BUCKETS is not among them.
    """
    if stage is None and "ARCHIVE_BUCKETS" in os.environ:
        return os.environ
    return {**os.environ, **stage_environment(stage or STAGE)}
