"""The settings a command works with: the environment's, else those of a Chalice stage.

The Lambda reads its environment; your machine usually has none, so that `hookshelf verify` right
after `make run` looks where `make run` archives: at stage `local`.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path

from chalicelib.errors import MisuseError
from hookshelf.project import PROJECT_ROOT

CONFIG = PROJECT_ROOT / ".chalice" / "config.json"
LOCAL_STAGE = "local"
LOOPBACK = "127.0.0.1"  # nobody but this machine reaches what is served there


def stage_environment(stage: str) -> dict[str, str]:
    """The environment variables .chalice/config.json gives a stage. Raises MisuseError.

    A relative ARCHIVE_FOLDER is counted from the project, where `chalice local` runs.
    """
    try:
        config = json.loads(CONFIG.read_text(encoding="utf-8"))
        layers = config, config["stages"][stage]
        variables = {
            name: value
            for layer in layers
            for name, value in layer.get("environment_variables", {}).items()
        }
    except OSError as error:
        raise MisuseError(f"{CONFIG}: {error.strerror}. Set ARCHIVE_BUCKETS") from None
    except KeyError:
        stages = ", ".join(config.get("stages", {})) or "none"
        raise MisuseError(f"No stage {stage!r} in {CONFIG}. There are: {stages}") from None
    except (ValueError, TypeError, AttributeError) as error:
        raise MisuseError(f"{CONFIG} has no readable stage `{stage}`: {error}") from None
    for name in [name for name, value in variables.items() if not isinstance(value, str)]:
        raise MisuseError(f"{name} of stage {stage!r} in {CONFIG} has to be in quotes")
    if "ARCHIVE_FOLDER" in variables:
        folder = PROJECT_ROOT / Path(variables["ARCHIVE_FOLDER"]).expanduser()
        variables["ARCHIVE_FOLDER"] = str(folder)
    return variables


def environment(stage: str | None = None) -> Mapping[str, str]:
    """What a command reads settings from. Raises MisuseError.

    With a stage, its variables beat the shell's, as Chalice has it; without one the shell's count,
    or stage `local` where ARCHIVE_BUCKETS is not among them.
    """
    if stage is None and "ARCHIVE_BUCKETS" in os.environ:
        return os.environ
    return {**os.environ, **stage_environment(stage or LOCAL_STAGE)}


def overridden(variables: Mapping[str, str]) -> list[str]:
    """The names among `variables`, a stage's, to which the shell gives other values in vain."""
    return [name for name, value in variables.items() if os.environ.get(name, value) != value]
