"""The Lambda functions: whether they are there, as they were deployed, and can work."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from chalicelib import snowplow
from chalicelib.keys import is_app
from chalicelib.settings import SettingError, from_environment
from hookshelf.deploy.deployment import HANDLERS
from hookshelf.deploy.drift import drifts
from hookshelf.doctor.aws_reader import reading
from hookshelf.doctor.findings import Result, failure, ok, warning
from hookshelf.doctor.live_stage import LiveStage
from hookshelf.doctor.registry import doctor_check, run_for_each

LONGEST_TIMEOUT = 29  # seconds; API Gateway gives up then
SHORTEST_TIMEOUT = 10  # the store has 8, and must be heard of
SMALLEST_MEMORY = 256  # MB; with less there is less CPU too, and the first delivery takes long
# Lambda supports 3.11 until June 2027, and nothing older.
# https://docs.aws.amazon.com/lambda/latest/dg/lambda-runtimes.html
ENDED_RUNTIMES = [f"python3.{minor}" for minor in range(11)]
# A difference here is no difference: only one of the functions reads them.
READ_BY_ONE = ("DIRECT_APP", "SNOWPLOW_")


@doctor_check(
    "functions",
    good="Every function is there.",
    why="What is sent to an entry point without its function is lost; without a compactor that "
    "was deployed, look-ups take longer each day.",
)
def functions(stage: LiveStage) -> Iterator[Result]:
    """Each handler has its Lambda function, and so has the stack's compactor."""
    for handler in _expected(stage):
        if handler not in stage.functions:
            yield failure(f"There is no function for {handler}.", stage.redeploy)


@doctor_check(
    "drift",
    good="Every function is as it was deployed.",
    why="The next deployment undoes what was changed by hand; until then the role, which was not "
    "changed, may not fit it.",
)
def drift(stage: LiveStage) -> Iterator[Result]:
    """No function was changed behind the stack's back."""
    if not stage.is_stack:
        yield ok("Plain chalice deploy made the stage: what the functions were like is not known.")
    if not stage.template or any(handler not in stage.functions for handler in _expected(stage)):
        return
    names = {name: handler for handler, name in stage.deployment.functions.items()}
    with reading("lambda"):
        for changed in drifts(stage.template, stage.deployment.stage):
            handler = names[changed.function]
            live, deployed = (
                environment(handler).get("ARCHIVE_BUCKETS", "")
                for environment in (stage.environment, stage.deployed_environment)
            )
            what = f"{handler} was changed by hand: {', '.join(changed.wanted)}."
            if live != deployed:
                what = (
                    f"ARCHIVE_BUCKETS of {handler} was changed by hand: it is {live!r}, and "
                    f"{deployed!r} was deployed."
                )
            level = failure if live != deployed else warning
            yield level(what, stage.redeploy_after("set in .chalice/config.json what should stay"))


@doctor_check(
    "function-limits",
    good="The HTTP function has time and memory enough.",
    why=f"After {LONGEST_TIMEOUT} s API Gateway has responded with 504 already, though the "
    f"delivery may land; under {SHORTEST_TIMEOUT} s Lambda ends what would have been a 503 or a "
    "200; and what memory is too small for is killed each time that it is sent.",
)
def function_limits(stage: LiveStage) -> Iterator[Result]:
    """Timeout and memory of the function behind API Gateway."""
    function = stage.function("api_handler")
    change = f"aws lambda update-function-configuration --function-name {function['FunctionName']}"
    timeout, memory = function["Timeout"], function["MemorySize"]
    if not SHORTEST_TIMEOUT <= timeout <= LONGEST_TIMEOUT:
        what = f"The timeout is {timeout} s, not from {SHORTEST_TIMEOUT} to {LONGEST_TIMEOUT}."
        yield failure(what, f"{change} --timeout 15")
    if memory < SMALLEST_MEMORY:
        what = f"The memory is {memory} MB, under {SMALLEST_MEMORY}."
        yield failure(what, f"{change} --memory-size {SMALLEST_MEMORY}")


@doctor_check(
    "runtime",
    good="Lambda supports the Python that the functions run on.",
    why="AWS fixes no more faults of it, and one day refuses to change the functions.",
)
def runtime(stage: LiveStage) -> Iterator[Result]:
    """No function runs on a Python at its end."""
    runtimes = {handler: function.get("Runtime") for handler, function in stage.functions.items()}
    old = sorted(
        f"{handler} ({name})" for handler, name in runtimes.items() if name in ENDED_RUNTIMES
    )
    if old:
        step = "install Python 3.13 or 3.12"
        if not stage.is_stack:  # Chalice takes the Python that it runs under
            step += ", then run: make clean; make PYTHON=python3.13 .venv/run.done"
        what = f"Lambda's support has ended for the Python of {', '.join(old)}."
        yield warning(what, stage.redeploy_after(step))


@doctor_check(
    "settings",
    good="The settings of the functions are in order.",
    why="A wrong setting is answered with 503, until somebody notices.",
)
def settings(stage: LiveStage) -> Iterator[Result]:
    """Each function's environment is one that it can work with."""
    return run_for_each(stage.functions, lambda handler: _settings(stage, handler))


@doctor_check(
    "same-settings",
    good="The HTTP function and the direct one archive alike.",
    why="Their deliveries would lie in different places, or be judged differently.",
)
def same_settings(stage: LiveStage) -> Iterator[Result]:
    """api_handler and deliver have the same environment."""
    over_http, direct = stage.environment("api_handler"), stage.environment("deliver")
    names = sorted(
        name
        for name in over_http.keys() | direct.keys()
        if over_http.get(name) != direct.get(name) and not name.startswith(READ_BY_ONE)
    )
    if names:
        what = f"api_handler and deliver differ in {', '.join(names)}."
        yield warning(what, stage.redeploy_after("set the same in .chalice/config.json"))


def _expected(stage: LiveStage) -> list[str]:
    return list(dict.fromkeys([*HANDLERS, *stage.deployment.functions]))


def _settings(stage: LiveStage, handler: str) -> Iterator[Result]:
    environ = stage.environment(handler)
    for problem in _problems(handler, environ):
        fix = stage.redeploy_after("see whether .chalice/config.json says so")
        yield failure(f"{handler}: {problem}.", fix)
    for name in sorted(environ):
        if name.startswith("AWS_ENDPOINT_URL"):
            what = f"{handler}: {name} is set, so deliveries go to another server than AWS's."
            yield warning(what, stage.redeploy_after("take it out of .chalice/config.json"))


def _problems(handler: str, environ: Mapping[str, str]) -> Iterator[str]:
    read = snowplow.outputs if handler == "track_s3" else from_environment
    try:
        read(environ)
    except SettingError as error:
        yield str(error)
    if environ.get("ARCHIVE_FOLDER", "").strip() and handler != "track_s3":
        yield "ARCHIVE_FOLDER is set, and Lambda's disk is gone with the function"
    app = environ.get("DIRECT_APP", "").strip()
    if handler == "deliver" and app and not is_app(app):
        yield "DIRECT_APP is no app's name"
