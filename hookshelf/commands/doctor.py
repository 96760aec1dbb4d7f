"""`hookshelf doctor`: whether a deployed stage is all right."""

from __future__ import annotations

from urllib.parse import urlsplit

import click

from hookshelf import doctor


class Url(click.ParamType):
    """Where the API's stage answers: no query, which is the canary's to write."""

    name = "url"

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """The URL as it is, or fail, without repeating what may hold a token."""
        try:
            parts = urlsplit(value)
            is_usable = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
        except ValueError:
            is_usable = False
        if not is_usable or parts.query or parts.fragment or parts.username:
            self.fail("give it like https://example.com/api: no query, and nothing but the stage")
        return value


@click.command()
@click.option("--stage", default="dev", show_default=True, help="Of .chalice/config.json.")
@click.option("--canary", is_flag=True, help="Post to the live door too, and read it back from S3.")
@click.option(
    "--url", type=Url(), help="With --canary: where the stage answers, if not where AWS has it."
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
    """Examine a deployed stage: what is wrong, why it matters, and what mends it.

    Nothing is mended by itself. To prove that nothing can be overwritten, a probe of a few bytes is
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
    findings = doctor.examine(stage, canary=canary, url=url, read_only=read_only)
    ctx.exit(doctor.report(findings, strict=strict, as_json=as_json))
