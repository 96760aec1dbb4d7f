"""The IAM policy of each Lambda function: what its stage's settings ask for, and nothing wider.

Where a wildcard is left, AWS leaves no choice: keys below a prefix, streams of one log group, the
random end of a secret's ARN, and region and account of things that exist beside the function.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from chalicelib import apps
from chalicelib.keys import EVENTS_FOLDER, MANIFESTS_FOLDER, REDACTED_FOLDER
from chalicelib.models import read_apps
from chalicelib.settings import BucketPath, Settings, from_environment
from chalicelib.types import Json
from hookshelf.aws import domain
from hookshelf.deploy.deployment import function_name

PLACEHOLDER = "CHANGE-ME"  # what ARCHIVE_BUCKETS says in a fresh clone

Resource = str | Mapping[str, Any]  # an ARN, or a CloudFormation intrinsic that becomes one

# https://docs.aws.amazon.com/kms/latest/developerguide/concepts.html#key-id-key-ARN
_KEY = re.compile(r"arn:aws[a-z-]*:kms:[a-z0-9-]+:[0-9]{12}:key/[A-Za-z0-9-]+")
# A version or label may follow the name, and is no part of the ARN. A parameter that another
# account shares goes by its ARN.
# https://docs.aws.amazon.com/systems-manager/latest/APIReference/API_GetParameter.html
_PARAMETER = re.compile(
    r"(?P<arn>arn:aws[a-z-]*:ssm:[a-z0-9-]+:[0-9]{12}:parameter(?=/))?"
    r"/?(?P<name>[A-Za-z0-9_.-][A-Za-z0-9_./-]*)(?::[A-Za-z0-9_.-]+)?"
)
# Secrets Manager ends every ARN in six random characters; an ARN may be given without them.
# https://docs.aws.amazon.com/secretsmanager/latest/userguide/troubleshoot.html#ARN_secretnamehyphen
_SECRET = re.compile(
    r"(?P<arn>arn:aws[a-z-]*:secretsmanager:[a-z0-9-]+:[0-9]{12}:secret:)?"
    r"(?P<name>[A-Za-z0-9/_+=.@!-]+)"
)
_COMPLETE = re.compile(r".+-[A-Za-z0-9]{6}")


class Reference(NamedTuple):
    """What the apps file says in a secret's or public key's place."""

    app: str
    field: str  # such as `secrets[0]`
    kind: str  # env, ssm or secretsmanager
    name: str


_ACTIONS = {"ssm": "ssm:GetParameter", "secretsmanager": "secretsmanager:GetSecretValue"}


def policies(
    stage: str,
    environ: Mapping[str, str],
    *,
    kms_keys: Sequence[str] = (),
    logs: Mapping[str, Resource] | None = None,
    dead_letters: Mapping[str, Resource] | None = None,
    partition: str = "aws",
) -> dict[str, Json]:
    """The policy document of every function of a stage, by handler.

    `environ` holds the stage's variables. `kms_keys` are the ARNs of keys of your own, which
    encrypt the bucket or the secrets of APPS_FILE. `logs` and `dead_letters` give, by handler,
    what the stack made for it: a log group, with the `:*` at its end that `Fn::GetAtt` returns,
    and a queue. A function without a log group here makes its own.

    Raises SettingError where ARCHIVE_BUCKETS or APPS_FILE is wrong; see `is_configured`.
    """
    secret_arns = _secret_arns(environ, partition)
    archive = [
        _put(from_environment(environ), partition),
        *_encrypt(kms_keys, partition),
        *_read(secret_arns),
        *_decrypt(kms_keys, secret_arns, partition),
    ]
    own = {"api_handler": archive, "deliver": archive, "track_s3": [_describe(stage, partition)]}
    return {
        handler: {
            "Version": "2012-10-17",
            "Statement": [
                *statements,
                *_send((dead_letters or {}).get(handler)),
                _log((logs or {}).get(handler), function_name(stage, handler), partition),
            ],
        }
        for handler, statements in own.items()
    }


_PUTS_DELIVERIES = {"compact": False, "readmit": True, "adopt": True}
# What a person or a job does. Who replays reads, and no more.
PURPOSES = ("read", "replay", *_PUTS_DELIVERIES, "erase")


def archive_policy(
    purpose: str,
    environ: Mapping[str, str],
    *,
    kms_keys: Sequence[str] = (),
    partition: str = "aws",
) -> Json:
    """The policy document of a person or a job that reads or changes the archive.

    `purpose` is one of PURPOSES. Who compacts may read, put and delete compacted files, and put
    entries of the manifest log; who readmits or adopts may put deliveries, too. Only who erases may
    delete a delivery, and versions of anything. `kms_keys` are the ARNs of keys of your own that
    encrypt the bucket. Raises SettingError where ARCHIVE_BUCKETS is wrong.
    """
    settings = from_environment(environ)
    return {
        "Version": "2012-10-17",
        "Statement": [*_archive(purpose, settings, kms_keys, partition)],
    }


def compactor_policy(
    environ: Mapping[str, str],
    log_group: Resource,
    *,
    kms_keys: Sequence[str] = (),
    partition: str = "aws",
) -> Json:
    """The policy document of the scheduled compactor, whose log is in a group of its own."""
    document = archive_policy("compact", environ, kms_keys=kms_keys, partition=partition)
    logs = _allow("WriteLogs", ["logs:CreateLogStream", "logs:PutLogEvents"], [log_group])
    return {**document, "Statement": [*document["Statement"], logs]}


def is_configured(environ: Mapping[str, str]) -> bool:
    """Whether a bucket has been named; until then the policy files of the clone stay as they are.

    They hold the placeholder in the bucket's place, which no bucket can be called, so that every
    stage can be packaged and none can write anywhere.
    """
    return PLACEHOLDER not in environ.get("ARCHIVE_BUCKETS", "")


def file_name(stage: str, handler: str) -> str:
    """The name, in .chalice/, of the file with a function's policy."""
    return f"policy-{stage}-{handler}.json"


def is_key_arn(text: str) -> bool:
    """Whether it is the ARN of one KMS key; an alias is none to a policy."""
    return _KEY.fullmatch(text) is not None


def references(environ: Mapping[str, str]) -> Iterator[Reference]:
    """The secrets and public keys of APPS_FILE that functions look up. Raises SettingError.

    An app that ignores signatures reads none of its keys.
    """
    for app, model in read_apps(environ).items():
        if model.signature == "ignore":
            continue
        for field, texts in (("secrets", model.secrets), ("public_keys", model.public_keys)):
            for index, text in enumerate(texts):
                kind, _, name = text.partition(":")
                if kind == "env" or kind in _ACTIONS:  # anything else is a literal
                    yield Reference(app, f"{field}[{index}]", kind, name)


def _put(settings: Settings, partition: str) -> Json:
    objects = [_objects(path, partition) for path in settings.bucket_paths]
    return _of_owner(settings, _allow("PutDeliveries", "s3:PutObject", objects))


def _archive(
    purpose: str, settings: Settings, kms_keys: Sequence[str], partition: str
) -> Iterator[Json]:
    objects = [_objects(path, partition) for path in settings.bucket_paths]
    buckets = [_bucket(path, partition) for path in settings.bucket_paths]
    erases = purpose == "erase"
    lists: str | list[str] = ["s3:ListBucket", "s3:ListBucketVersions"]
    reads: str | list[str] = ["s3:GetObject", "s3:GetObjectVersion"]
    yield _of_owner(settings, _allow("ListArchive", lists if erases else lists[0], buckets))
    yield _of_owner(settings, _allow("ReadArchive", reads if erases else reads[0], objects))
    kms = ["kms:Decrypt"]
    if erases:
        redacted = _below(objects, REDACTED_FOLDER)
        yield _of_owner(settings, _allow("PutRedacted", "s3:PutObject", redacted))
        yield _of_owner(settings, _allow("DeleteVersions", "s3:DeleteObjectVersion", objects))
    if _PUTS_DELIVERIES.get(purpose):
        yield _of_owner(settings, _allow("PutDeliveries", "s3:PutObject", objects))
    if erases or purpose in _PUTS_DELIVERIES:
        replace, events = ["s3:PutObject", "s3:DeleteObject"], _below(objects, EVENTS_FOLDER)
        yield _of_owner(settings, _allow("ReplaceEvents", replace, events))
        manifests = _below(objects, MANIFESTS_FOLDER)
        yield _of_owner(settings, _allow("WriteManifestLog", "s3:PutObject", manifests))
        kms.append("kms:GenerateDataKey")
    if kms_keys:
        yield _allow("UseBucketKey", kms, kms_keys) | _via(["s3"], partition)


def _below(objects: Iterable[str], folder: str) -> Iterator[str]:
    """That folder of each place, and of every path below it.

    No path, app or other part of a delivery's key is called so: see chalicelib/keys.py.
    """
    for pattern in objects:
        place = pattern.removesuffix("*")
        yield from (f"{place}{folder}/*", f"{place}*/{folder}/*")


def _of_owner(settings: Settings, statement: Json) -> Json:
    if settings.bucket_owner:
        statement["Condition"] = {"StringEquals": {"aws:ResourceAccount": settings.bucket_owner}}
    return statement


def _bucket(path: BucketPath, partition: str) -> str:
    return path.bucket if path.bucket.startswith("arn:") else f"arn:{partition}:s3:::{path.bucket}"


def _objects(path: BucketPath, partition: str) -> str:
    """https://docs.aws.amazon.com/AmazonS3/latest/userguide/access-points-policies.html"""
    below = "object/" if path.bucket.startswith("arn:") else ""
    return f"{_bucket(path, partition)}/{below}{path.prefix}*"


def _encrypt(kms_keys: Sequence[str], partition: str) -> Iterator[Json]:
    """One put needs a data key only; parts of a multipart upload would have to be decrypted too.

    https://docs.aws.amazon.com/AmazonS3/latest/userguide/UsingKMSEncryption.html
    """
    if kms_keys:
        yield _allow("EncryptDeliveries", "kms:GenerateDataKey", kms_keys) | _via(["s3"], partition)


def _read(secret_arns: Mapping[str, Sequence[str]]) -> Iterator[Json]:
    for kind, arns in secret_arns.items():
        sid = {"ssm": "ReadParameters", "secretsmanager": "ReadSecrets"}[kind]
        yield _allow(sid, _ACTIONS[kind], arns)


def _decrypt(
    kms_keys: Sequence[str], secret_arns: Mapping[str, Sequence[str]], partition: str
) -> Iterator[Json]:
    """Keys of your own, for what the function may read anyhow: the two services decrypt for it."""
    if kms_keys and secret_arns:
        yield _allow("DecryptSecrets", "kms:Decrypt", kms_keys) | _via(secret_arns, partition)


def _describe(stage: str, partition: str) -> Json:
    """The tracker reads its own description, where the collector may be named."""
    name = function_name(stage, "track_s3")
    arn = f"arn:{partition}:lambda:*:*:function:{name}"
    return _allow("ReadOwnDescription", "lambda:GetFunctionConfiguration", [arn])


def _send(queue: Resource | None) -> Iterator[Json]:
    if queue:
        yield _allow("SendDeadLetters", "sqs:SendMessage", [queue])


def _log(group: Resource | None, function: str, partition: str) -> Json:
    actions = ["logs:CreateLogStream", "logs:PutLogEvents"]
    if group:
        return _allow("WriteLogs", actions, [group])
    own = f"arn:{partition}:logs:*:*:log-group:/aws/lambda/{function}:*"
    return _allow("WriteLogs", ["logs:CreateLogGroup", *actions], [own])


def _allow(sid: str, action: str | list[str], resources: Iterable[Resource]) -> Json:
    unique: list[Resource] = []
    for resource in resources:
        if resource not in unique:
            unique.append(resource)
    return {"Sid": sid, "Effect": "Allow", "Action": action, "Resource": unique}


def _via(services: Iterable[str], partition: str) -> Json:
    """https://docs.aws.amazon.com/kms/latest/developerguide/conditions-kms.html#conditions-kms-via-service"""
    hosts = [f"{service}.*.{domain(partition)}" for service in services]
    return {"Condition": {"StringLike": {"kms:ViaService": hosts}}}


def _secret_arns(environ: Mapping[str, str], partition: str) -> dict[str, list[str]]:
    """The ARNs of what APPS_FILE refers to, by service. Raises SettingError."""
    arns: dict[str, list[str]] = {}
    for reference in references(environ):
        if reference.kind in _ACTIONS:
            arn = _ARNS[reference.kind](reference.name, partition)
            if arn is None:
                why = f"the {reference.kind}: reference is no name or ARN"
                raise apps.AppError(reference.app, reference.field, why)
            arns.setdefault(reference.kind, []).append(arn)
    return arns


def _parameter(name: str, partition: str) -> str | None:
    match = _PARAMETER.fullmatch(name)
    if not match:
        return None
    return f"{match['arn'] or f'arn:{partition}:ssm:*:*:parameter'}/{match['name']}"


def _secret(name: str, partition: str) -> str | None:
    match = _SECRET.fullmatch(name)
    if not match:
        return None
    if match["arn"] and _COMPLETE.fullmatch(match["name"]):
        return name
    return f"{match['arn'] or f'arn:{partition}:secretsmanager:*:*:secret:'}{match['name']}-??????"


_ARNS = {"ssm": _parameter, "secretsmanager": _secret}
