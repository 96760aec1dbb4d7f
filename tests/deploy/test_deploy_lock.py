"""Tokens that are changed while a deploy begins: whoever comes second sees the other."""

from collections.abc import Callable

import pytest
from support.stage import deploy, live, shell

from hookshelf.deploy import deploy_lock, stage_variables
from hookshelf.deploy.deploy_lock import LOCK_TIMEOUT, VariablesChanged, change_tokens, held
from hookshelf.deploy.deployment import Deployment

NOW = 1_795_000_000.0


@pytest.fixture
def endpoint(moto_endpoint: str, monkeypatch: pytest.MonkeyPatch) -> str:
    for name, value in shell(moto_endpoint).items():
        monkeypatch.setenv(name, value)
    return moto_endpoint


@pytest.fixture
def deployment(endpoint: str) -> Deployment:
    return deploy(endpoint, validToken="old,new")


def revoke_old(deployment: Deployment, now: float = NOW) -> None:
    known = {"validToken": "old,new"}
    change_tokens(deployment, {"validToken": "new"}, known=known, clock=lambda: now)


def test_no_token_is_changed_while_a_deploy_holds_the_lock(
    endpoint: str, deployment: Deployment
) -> None:
    with (
        held(deployment, lambda: NOW),
        pytest.raises(VariablesChanged, match="Nothing was changed"),
    ):
        revoke_old(deployment)

    assert live(endpoint, deployment) == {"validToken": "old,new"}


def test_the_lock_is_no_variable_that_a_deploy_keeps(deployment: Deployment) -> None:
    with held(deployment):
        assert stage_variables.read(deployment) == {"validToken": "old,new"}


def test_the_lock_of_a_deploy_that_was_killed_counts_for_ten_minutes(
    deployment: Deployment,
) -> None:
    stage_variables.lock(deployment, int(NOW))
    with pytest.raises(VariablesChanged):
        revoke_old(deployment, NOW + LOCK_TIMEOUT - 1)
    revoke_old(deployment, NOW + LOCK_TIMEOUT)

    assert stage_variables.read(deployment) == {"validToken": "new"}


def after_writing(monkeypatch: pytest.MonkeyPatch, happens: Callable[[Deployment], None]) -> None:
    """Let something happen right after the next change is written."""
    real = stage_variables.write

    def write(deployment: Deployment, changes: dict[str, str | None]) -> None:
        real(deployment, changes)
        monkeypatch.setattr(stage_variables, "write", real)
        happens(deployment)

    monkeypatch.setattr(stage_variables, "write", write)


def test_a_deploy_that_begins_at_the_same_moment_is_said(
    monkeypatch: pytest.MonkeyPatch, deployment: Deployment
) -> None:
    after_writing(monkeypatch, lambda stage: stage_variables.lock(stage, int(NOW)))
    with pytest.raises(VariablesChanged, match="your change may not hold"):
        revoke_old(deployment)


def test_a_deploy_whose_stack_is_at_work_by_then_is_said(
    monkeypatch: pytest.MonkeyPatch, deployment: Deployment
) -> None:
    looks = iter([False, True])
    monkeypatch.setattr(deploy_lock.Stack, "is_at_work", lambda self: next(looks))
    with pytest.raises(VariablesChanged, match="your change may not hold"):
        revoke_old(deployment)


def test_a_token_that_is_put_back_at_once_is_said(
    monkeypatch: pytest.MonkeyPatch, deployment: Deployment
) -> None:
    def put_back(stage: Deployment) -> None:
        stage_variables.write(stage, {"validToken": "old,new"})

    after_writing(monkeypatch, put_back)
    with pytest.raises(VariablesChanged, match="your change may not hold"):
        revoke_old(deployment)


def test_a_change_made_of_what_is_so_no_longer_is_refused(
    endpoint: str, deployment: Deployment
) -> None:
    with pytest.raises(VariablesChanged, match="Someone else changed these tokens meanwhile"):
        change_tokens(deployment, {"validToken": "two"}, known={"validToken": "one"})

    assert live(endpoint, deployment) == {"validToken": "old,new"}
