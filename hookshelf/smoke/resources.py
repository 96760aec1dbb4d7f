"""What the checks look at: made for them, with a name and a tag, and removed again."""

from __future__ import annotations

import json
import re
import secrets
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple
from zipfile import ZIP_DEFLATED, ZipFile, ZipInfo

import boto3
from botocore.exceptions import BotoCoreError, ClientError

from chalicelib.errors import HookshelfError
from hookshelf import web
from hookshelf.aws import Account
from hookshelf.deploy import bucket as hardening
from hookshelf.deploy import package as packaging
from hookshelf.deploy.apply import apply
from hookshelf.deploy.deployment import find_deployment, stack_name
from hookshelf.deploy.destroy import destroy
from hookshelf.deploy.package import Package, PackageRequest
from hookshelf.deploy.plan import Build, DeployRequest, make_plan, plan_lines
from hookshelf.deploy.progress import Progress
from hookshelf.deploy.stack import Stack, wait_until_idle
from hookshelf.project import PROJECT_ROOT
from hookshelf.smoke.functions import SIGNED_APP
from hookshelf.smoke.target import SMOKE_APP, Target
from hookshelf.web import HttpRequest, HttpResponse

SMOKE_STAGE = "smoke"  # not in .chalice/config.json: nobody deploys it otherwise
APPS_FILE = "build/smoke/apps.json"  # in the checkout, which git ignores, and in the zip
TAG = {"Key": "hookshelf", "Value": SMOKE_STAGE}
_BUCKET = re.compile(r"hookshelf-smoke-[0-9a-f]{8}")


@dataclass(frozen=True)
class Dependencies:
    """What is outside, and takes its time."""

    build: Build = packaging.build
    send: Callable[[HttpRequest], HttpResponse] = web.send
    sleep: Callable[[float], None] = time.sleep
    clock: Callable[[], float] = time.monotonic


class SmokeError(HookshelfError):
    """What the checks would look at did not come up."""


class Leftovers(NamedTuple):
    """What there is of a run, in this region."""

    stack: str  # its name; empty where there is none
    buckets: list[str]

    def __str__(self) -> str:
        named = [*([f"stack {self.stack}"] if self.stack else []), *self.buckets]
        return ", ".join(named) or "nothing"


def new_bucket_name() -> str:
    """A new one, which nobody else has."""
    return f"hookshelf-smoke-{secrets.token_hex(4)}"


def create_bucket(name: str, account: Account) -> None:
    """An empty bucket with our tag; `hookshelf deploy` hardens it later."""
    hardening.create(name, account.region, account.id)
    boto3.client("s3").put_bucket_tagging(**account.named(name), Tagging={"TagSet": [TAG]})


def deploy(bucket: str, account: Account, dependencies: Dependencies, progress: Progress) -> Target:
    """Put the stage on AWS, and wait until it takes a delivery. Raises SmokeError."""
    _write_apps_file()
    build = _with_apps_file(dependencies.build)
    request = DeployRequest(SMOKE_STAGE, (bucket,), create_bucket=True, environment=_environment())
    plan = make_plan(request, build, progress)
    for line in plan_lines(plan):
        progress(line)
    apply(plan, progress)

    def redeploy() -> None:
        # Something has to differ, or nothing in the stack is updated.
        changed = replace(request, environment={**_environment(), "SMOKE_DEPLOY": "2"})
        apply(make_plan(changed, build, progress), progress)

    target = Target(
        deployment=find_deployment(SMOKE_STAGE),
        account=account,
        bucket=bucket,
        tokens=[plan.token],
        redeploy=redeploy,
        send=dependencies.send,
        sleep=dependencies.sleep,
        clock=dependencies.clock,
    )
    if (status := target.status()) != 200:
        raise SmokeError(f"The new stage responds with {status or 'nothing'}, not 200")
    return target


def leftovers(account: Account) -> Leftovers:
    """What a run that was killed, or asked to --keep, left in this region."""
    stack = Stack(stack_name(SMOKE_STAGE))
    return Leftovers(stack.name if stack.status() else "", list(_tagged(account)))


def clean_up(buckets: list[str], account: Account, progress: Progress) -> list[str]:
    """Remove the stage and these buckets with all that is in them; what could not be removed."""
    remove_stack = partial(_remove_stack, progress)
    steps: dict[str, Callable[[], None]] = {f"stack {stack_name(SMOKE_STAGE)}": remove_stack}
    steps |= {f"bucket {name}": partial(_remove_bucket, name, account) for name in buckets}
    kept = []
    for what, step in steps.items():
        progress(f"Removing {what} …")
        try:
            step()
        except (ClientError, BotoCoreError) as error:
            progress(f"  AWS refused: {error}")
            kept.append(what)
        except HookshelfError as error:
            progress(f"  {error}")
            kept.append(what)
    return kept


def _environment() -> dict[str, str]:
    return {"APPS_FILE": APPS_FILE, "ARCHIVE_CLIENT": "obstore", "DIRECT_APP": SMOKE_APP}


def _write_apps_file() -> None:
    """The entry point with AWS_IAM lets in whom an app names: whoever runs this."""
    arn = boto3.client("sts").get_caller_identity()["Arn"]
    path = PROJECT_ROOT / APPS_FILE
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({SIGNED_APP: {"principals": [arn]}}), encoding="utf-8")


def _with_apps_file(build: Build) -> Build:
    """Chalice packages chalicelib/ only, and this file is no part of anybody's checkout."""

    def built(request: PackageRequest, into: Path, progress: Progress) -> Package:
        package = build(request, into, progress)
        with ZipFile(package.zip, "a", ZIP_DEFLATED) as archive:
            entry = ZipInfo(APPS_FILE)
            entry.external_attr = 0o644 << 16
            archive.writestr(entry, (PROJECT_ROOT / APPS_FILE).read_bytes(), ZIP_DEFLATED)
        return package

    return built


def _tagged(account: Account) -> Iterator[str]:
    """Our buckets of this region: of our name and with our tag."""
    s3 = boto3.client("s3")
    pages = s3.get_paginator("list_buckets").paginate(
        Prefix="hookshelf-smoke-", BucketRegion=account.region
    )
    for page in pages:
        for bucket in page["Buckets"]:
            name = bucket["Name"]
            if _BUCKET.fullmatch(name) and TAG in _tags(s3, account.named(name)):
                yield name


def _tags(s3: Any, where: dict[str, str]) -> list[dict[str, str]]:
    try:
        tags: list[dict[str, str]] = s3.get_bucket_tagging(**where)["TagSet"]
    except ClientError as error:
        if error.response["Error"]["Code"] in ("NoSuchTagSet", "NoSuchBucket"):
            return []
        raise
    return tags


def _remove_stack(progress: Progress) -> None:
    """And its code. What an interrupted run began must end first: no update can be deleted."""
    wait_until_idle(Stack(stack_name(SMOKE_STAGE)), progress)
    destroy(SMOKE_STAGE, progress)


def _remove_bucket(name: str, account: Account) -> None:
    """With every version, and every delete marker."""
    s3, ours = boto3.resource("s3"), {"ExpectedBucketOwner": account.id}
    with suppress(s3.meta.client.exceptions.NoSuchBucket):  # it was never made
        s3.Bucket(name).object_versions.filter(**ours).delete(**ours)
        s3.Bucket(name).delete(**ours)
