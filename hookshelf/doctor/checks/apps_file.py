"""The apps file of this checkout, as the functions read it."""

from __future__ import annotations

from collections.abc import Iterator

from botocore.exceptions import ClientError

from chalicelib.models import check_apps, read_apps
from chalicelib.settings import SettingError
from hookshelf.doctor.aws_reader import is_denied
from hookshelf.doctor.findings import NotChecked, Result, failure, warning
from hookshelf.doctor.live_stage import LiveStage
from hookshelf.doctor.registry import doctor_check


@doctor_check(
    "apps-file",
    good="The apps file is in order.",
    why="An app that is configured wrongly is answered with 503.",
)
def valid_apps(stage: LiveStage) -> Iterator[Result]:
    """APPS_FILE of this checkout, with the variables that the function has."""
    try:
        check_apps(stage.environment("api_handler"))
    except SettingError as error:
        cause: BaseException | None = error
        while cause is not None:
            if isinstance(cause, ClientError) and is_denied(cause):
                what = f"{error} ({cause.response['Error']['Code']})"
                raise NotChecked(what, "Allow the doctor to read it.") from None
            cause = cause.__context__
        yield failure(f"{error}.", stage.redeploy_after("fix that"))


@doctor_check(
    "env-secrets",
    good="No secret of the apps file is in a function's environment.",
    why="Whoever may look at a function or its stack reads its environment in clear.",
)
def env_secrets(stage: LiveStage) -> Iterator[Result]:
    """No app's secret is kept as `env:`, which is for your machine."""
    try:
        apps = read_apps(stage.environment("api_handler"))
    except SettingError:  # said by the check above
        return
    for app, model in apps.items():
        for secret in model.secrets:
            kind, _, variable = secret.partition(":")
            if kind == "env":
                name = f"/hookshelf/{stage.deployment.stage}/{app}/{variable}"
                keep = f'--name {name} --type SecureString --value "${variable}"'
                yield warning(
                    f"A secret of app {app} is {variable} in the functions' environment.",
                    f"aws ssm put-parameter {keep}; {stage.redeploy}  # between the two, write "
                    f'"ssm:{name}" for "env:{variable}" in the apps file',
                )
