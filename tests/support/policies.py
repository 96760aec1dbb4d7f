"""What a policy allows: whether one call, and what beyond what any function may."""

import json
import re
from collections.abc import Iterator, Mapping
from itertools import product
from typing import Any

# All that any function may be allowed; a wildcard stands only where a pattern here has one.
_ARN = r"arn:aws[a-z-]*"
_ANYWHERE = r"(\*|[a-z0-9-]+):(\*|\w+)"  # region and account
_GROUP = rf"{_ARN}:logs:{_ANYWHERE}:log-group:/aws/lambda/[\w-]+:\*"
ALLOWED = {
    "s3:putobject": rf"{_ARN}:s3:::[\w.-]+/([\w.-]+/)*\*"
    rf"|{_ARN}:s3:[a-z0-9-]+:\d{{12}}:accesspoint/[a-z0-9-]+/object/([\w.-]+/)*\*",
    "kms:generatedatakey": rf"{_ARN}:kms:[a-z0-9-]+:\d{{12}}:key/[\w-]+",
    "kms:decrypt": rf"{_ARN}:kms:[a-z0-9-]+:\d{{12}}:key/[\w-]+",
    "ssm:getparameter": rf"{_ARN}:ssm:{_ANYWHERE}:parameter/[\w./-]+",
    "secretsmanager:getsecretvalue": rf"{_ARN}:secretsmanager:{_ANYWHERE}"
    r":secret:[\w/+=.@!-]+-(\?{6}|\w{6})",
    "lambda:getfunctionconfiguration": rf"{_ARN}:lambda:{_ANYWHERE}:function:[\w-]+",
    "sqs:sendmessage": rf"{_ARN}:sqs:[a-z0-9-]+:\w+:[\w-]+",
    "logs:createloggroup": _GROUP,
    "logs:createlogstream": _GROUP,
    "logs:putlogevents": _GROUP,
}
# All that the compactor may be allowed.
_ACCESS_POINT = rf"{_ARN}:s3:[a-z0-9-]+:\d{{12}}:accesspoint/[a-z0-9-]+"
_PLACE = rf"({_ARN}:s3:::[\w.-]+|{_ACCESS_POINT}/object)/([\w.-]+/)*"
OF_COMPACTOR = {
    "s3:listbucket": rf"{_ARN}:s3:::[\w.-]+|{_ACCESS_POINT}",
    "s3:getobject": rf"{_PLACE}\*",
    "s3:putobject": rf"{_PLACE}(\*/)?(layer=events|_manifests)/\*",
    "s3:deleteobject": rf"{_PLACE}(\*/)?layer=events/\*",
    **{
        action: ALLOWED[action]
        for action in ("kms:decrypt", "kms:generatedatakey", "logs:createlogstream")
    },
    "logs:putlogevents": _GROUP,
}
_FORBIDDEN = {"NotAction", "NotResource", "Principal", "NotPrincipal"}


def wide(policy: dict[str, Any], allowed: Mapping[str, str] = ALLOWED) -> list[str]:
    """Every Allow statement of a policy that allows more than `allowed` does, in words.

    `policy` may hold CloudFormation's intrinsics: `Ref` and `Fn::GetAtt` name one thing, and of
    `Fn::Sub` and `Fn::Join` the text counts.
    """
    return [
        f"{statement.get('Sid', number)}: {fault}"
        for number, statement in enumerate(listed(policy["Statement"]))
        if statement.get("Effect") != "Deny"
        for fault in _faults(statement, allowed)
    ]


def allows(policy: dict[str, Any], action: str, arn: str) -> bool:
    """Whether a policy lets somebody who meets all its conditions do that to a resource.

    https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_evaluation-logic.html
    """
    matching = {
        statement["Effect"]
        for statement in listed(policy["Statement"])
        if not _FORBIDDEN & set(statement)
        and any(_matches(str(one).lower(), action.lower()) for one in listed(statement["Action"]))
        and any(_matches(_text(one) or "", arn) for one in listed(statement["Resource"]))
    }
    return matching == {"Allow"}


def _matches(pattern: str, text: str) -> bool:
    parts = {"*": ".*", "?": "."}
    return bool(
        re.fullmatch("".join(parts.get(c) or re.escape(c) for c in pattern), text, re.DOTALL)
    )


def _faults(statement: dict[str, Any], allowed: Mapping[str, str]) -> Iterator[str]:
    actions, resources = listed(statement.get("Action", [])), listed(statement.get("Resource", []))
    yield from sorted(_FORBIDDEN & set(statement))
    if not actions or not resources:
        yield "no Action or no Resource"
    for action in actions:
        if str(action).lower() not in allowed:
            yield f"action {action}"
    for action, resource in product(actions, map(_text, resources)):
        pattern = allowed.get(str(action).lower(), "")
        if pattern and resource and not re.fullmatch(pattern, resource, re.ASCII):
            yield f"{action} on {resource}"


def _text(resource: Any) -> str | None:
    """An ARN, with `x` for what a template will fill in; None for one thing of the template."""
    match resource:
        case {"Ref": _} | {"Fn::GetAtt": _}:
            return None
        case {"Fn::Sub": str(text)} | {"Fn::Sub": [str(text), _]}:
            return re.sub(r"\$\{.+?\}", "x", text.replace("${AWS::Partition}", "aws"))
        case {"Fn::Join": [str(between), list(parts)]}:
            return between.join(_text(part) or "x" for part in parts)
    return resource if isinstance(resource, str) else json.dumps(resource)


def listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]
