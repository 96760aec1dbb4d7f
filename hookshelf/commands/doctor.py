"""`hookshelf doctor`: whether a deployed stage is all right."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from urllib.parse import urlsplit

import click

from hookshelf.doctor import Finding, examine


def _url(ctx: click.Context, param: click.Parameter, value: str | None) -> str | None:
    """The URL as it is, or a refusal that does not repeat it: it may hold a token."""
    if value is None:
        return None
    try:
        parts = urlsplit(value)
        is_usable = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
    except ValueError:
        is_usable = False
    if not is_usable or parts.query or parts.fragment or parts.username:
        raise click.BadParameter(
            "give it like https://example.com/api: no query, and nothing but the stage"
        )
    return value


@click.command()
@click.option("--stage", default="dev", show_default=True, help="Of .chalice/config.json.")
@click.option(
    "--canary", is_flag=True, help="Post to the live stage too, and read it back from S3."
)
@click.option(
    "--url",
    callback=_url,
    metavar="URL",
    help="With --canary: where the stage is, if not where AWS has it.",
)
@click.option("--read-only", is_flag=True, help="Put nothing into the bucket, so prove less.")
@click.option("--strict", is_flag=True, help="Count warnings as failures.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object per finding.")
@click.pass_context
def command(
    ctx: click.Context,
    *,
    stage: str,
    canary: bool,
    url: str | None,
    read_only: bool,
    strict: bool,
    as_json: bool,
) -> None:
    """Examine a deployed stage: what is wrong, why it matters, and what fixes it.

    Nothing is fixed by itself. To prove that nothing can be overwritten, a probe of a few bytes is
    put below _rejected/, once a day. What the canary stores stays, under the app hookshelf-doctor;
    its token is HOOKSHELF_TOKEN where that is set, else one that is made for it and taken out.

    \b
    Exit status: 0 in order, 1 a check fails or AWS refused, 2 misuse or not deployed.

    \b
    Examples:
      hookshelf doctor --stage dev
      hookshelf doctor --stage prod --canary --strict
      hookshelf doctor --stage prod --read-only --json
    """
    if canary and read_only:
        raise click.UsageError("--canary stores deliveries. Leave out --read-only, or --canary")
    if url and not canary:
        raise click.UsageError("--url is where the canary goes. Give --canary with it")
    findings = examine(
        stage,
        canary=canary,
        url=url,
        read_only=read_only,
        progress=lambda line: click.echo(line, err=True),
    )
    ctx.exit(print_findings(findings, strict=strict, as_json=as_json))


def print_findings(
    findings: Sequence[Finding], *, strict: bool = False, as_json: bool = False
) -> int:
    """Print findings; the exit status, 1 where a check fails. `strict` counts warnings too."""
    for finding in findings:
        click.echo(json.dumps(asdict(finding)) if as_json else _paragraph(finding))
    failed = {finding.id for finding in findings if finding.level == "failure"}
    warned = {finding.id for finding in findings if finding.level == "warning"} - failed
    if not as_json:
        checks = len({finding.id for finding in findings})
        click.echo(f"{checks} checks: {len(failed)} failed, {len(warned)} warnings")
    return 1 if failed or (strict and warned) else 0


def _paragraph(finding: Finding) -> str:
    lines = [f"{finding.level:<8} {finding.id:<17} {finding.what}"]
    if finding.level != "ok":
        lines.append(f"{'':9}Why:  {finding.why}")
    if finding.fix:
        lines.append(f"{'':9}Fix:  {finding.fix}")
    return "\n".join(lines)
