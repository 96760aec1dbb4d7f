"""Tokens that are changed during a deploy: neither may undo the other without a word.

`hookshelf token` changes stage variables within seconds; a deploy hands CloudFormation the ones it
has read, which are written minutes later. So a deploy first takes a lock, a stage variable too,
then reads the tokens once more, and only then lets CloudFormation begin. Whoever changes a token
looks for the lock and at the stack before it writes, and again after. Whichever of the two comes
second sees the other, says so, and changes nothing or tells that its change may not hold.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

from chalicelib.errors import HookshelfError
from hookshelf.deploy import stage_variables
from hookshelf.deploy.deployment import Deployment, stack_name
from hookshelf.deploy.stack import Stack

LOCK_TIMEOUT = 600  # seconds after which the lock of a deploy that was killed counts no more


class VariablesChanged(HookshelfError):
    """Somebody else changes the same stage variables at this moment."""


@contextmanager
def held(
    deployment: Deployment, clock: Callable[[], float] = time.time, *, renew: bool = True
) -> Iterator[None]:
    """Keep tokens from being changed within it.

    A lock that is there already is taken over, with a new time or, without `renew`, as it is.
    """
    if renew or stage_variables.locked_since(deployment) is None:
        stage_variables.lock(deployment, int(clock()))
    try:
        yield
    finally:
        stage_variables.unlock(deployment)


def change_tokens(
    deployment: Deployment,
    changes: Mapping[str, str | None],
    *,
    known: Mapping[str, str],
    clock: Callable[[], float] = time.time,
) -> None:
    """Set token variables, made of those that were `known`. Raises VariablesChanged.

    MisuseError for what API Gateway would refuse.
    """
    stage = deployment.stage
    if _is_deploying(deployment, clock):
        raise VariablesChanged(
            f"A deploy of stage {stage} is under way, and might put back the tokens of before. "
            "Nothing was changed; wait for its end, and run this again. If it was killed, "
            f"hookshelf deploy --stage {stage} ends it; else this works again in ten minutes"
        )
    live = stage_variables.read(deployment)
    if any(live.get(name) != known.get(name) for name in changes):
        raise VariablesChanged(
            "Someone else changed these tokens meanwhile. Nothing was changed; run this again"
        )
    stage_variables.write(deployment, changes)
    is_deploying = _is_deploying(deployment, clock)  # before the tokens: it may have ended by then
    live = stage_variables.read(deployment)
    if is_deploying or any(live.get(name) != value for name, value in changes.items()):
        raise VariablesChanged(
            f"A deploy of stage {stage}, or someone else, changed these tokens at the same moment, "
            f"and your change may not hold. Wait, look at hookshelf token list --stage {stage}, "
            "and run this again"
        )


def _is_deploying(deployment: Deployment, clock: Callable[[], float]) -> bool:
    since = stage_variables.locked_since(deployment)
    if since is not None and clock() - since < LOCK_TIMEOUT:
        return True
    return deployment.made_by == "stack" and Stack(stack_name(deployment.stage)).is_at_work()
