"""`hookshelf verify`: prove the senders' signatures again, from what is archived alone."""

from __future__ import annotations

import json
import re
import sys
from collections import Counter
from typing import TYPE_CHECKING, Any

import click

from chalicelib.errors import HookshelfError
from chalicelib.keys import is_app
from hookshelf.commands._options import ReadOptions, reading_options
from hookshelf.commands._output import go_on, show_read
from hookshelf.reading.values import Checked, Verified
from hookshelf.terminal import show

if TYPE_CHECKING:
    from hookshelf import Archive


class _Sha256(click.ParamType):  # type: ignore[type-arg]  # no type before click 8.5
    name = "sha256"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if not re.fullmatch("[0-9a-f]{64}", value):
            self.fail(f"{value!r} is no SHA-256 of 64 hex digits. `hookshelf manifest` prints it")
        return value


@click.command()
@reading_options
@click.option("--rejected", is_flag=True, help="Check what was refused and kept instead.")
@click.option("--raw", is_flag=True, help="Ask for the raw objects, whatever files hold of them.")
@click.option(
    "--manifest",
    "heads",
    type=_Sha256(),
    multiple=True,
    help="A head that `hookshelf manifest` printed, which the log must still hold. Repeat it.",
)
def command(options: ReadOptions, *, rejected: bool, raw: bool, heads: tuple[str, ...]) -> None:
    """Check archived deliveries again: their signatures, their bytes, and that all are there.

    Only the archived bytes and headers count, and the keys and secrets in APPS_FILE. A body that no
    longer matches the hash in its key is `bad`, its state `altered`. Where a signature was too long
    to be kept, or the sender signs the URL, the verdict is that of the arrival, its state
    `recorded`: not proved again.

    The manifest log says what there was: what nothing holds any more is `missing`, `expired` or
    `redacted`, what came in by another way is `added`. Deliveries are read from compacted files,
    a day with one request; of raw objects beside them only those that may have been altered are.

    \b
    Exit status: 0 in order, 2 misuse, 1 where a delivery is bad or stale, missing or added,
    or unsigned though its app requires signatures, or where there is nothing to check.

    \b
    Examples:
      hookshelf verify                             everything, where `make run` archives
      hookshelf verify --app sendgrid --since 14d
      hookshelf verify --since 2026-10-31 --until 2026-10-31 --tz Europe/Berlin
      hookshelf verify --rejected --json
      hookshelf verify --raw                       the raw objects, one request each
      hookshelf verify --manifest 5f70bf18a08600…  against a head that was kept elsewhere
    """
    from hookshelf import Archive

    if options.app is not None and not is_app(options.app):
        raise click.UsageError(f"--app {options.app!r}: no such app name")
    archive = Archive(
        options.bucket, app=options.app, environ=options.environ, below=options.bucket is None
    )
    verified = archive.verify(since=options.since, until=options.until, rejected=rejected, raw=raw)
    counts, faults = _printed(verified, archive, options)
    if not counts:
        raise HookshelfError(_why_nothing(archive, options, rejected))
    show(_summary(counts), err=options.as_json)
    if set(counts) == {"unchecked"}:
        show("No keys or secrets: name them in APPS_FILE.", err=options.as_json)
    rewritten = set(heads) - verified.hashes
    for head in rewritten:
        show(f"No entry of the manifest log has {head}: the log was rewritten, or cut.", err=True)
    for kind, app in sorted(set(verified.unfinished)):
        command_line = go_on(options, kind, *(() if options.app else ("--app", app)))
        show(f"Was interrupted, and is finished by the same command: {command_line} …", err=True)
    # With files there, raw is read to see whether it was altered.
    show_read(verified.read, options, hint=not verified.read.files)
    sys.exit(1 if faults or rewritten else 0)


def _printed(
    verified: Verified, archive: Archive, options: ReadOptions
) -> tuple[Counter[str], int]:
    """Print what was checked; how many of each kind there are, and how many are not in order."""
    # A key alone does not say where it is.
    is_ambiguous = options.bucket is None and len({place.bucket for place in archive.places}) > 1
    counts: Counter[str] = Counter()
    faults = 0
    with click.progressbar(
        verified,
        label="Verifying",
        file=sys.stderr,
        item_show_func=lambda _: f"{counts.total():,}",
        hidden=not sys.stderr.isatty(),
    ) as all_checked:
        for checked in all_checked:
            counts[_label(checked)] += 1
            faults += not checked.in_order
            if options.as_json:
                show(_as_json(checked, is_ambiguous))
            elif not checked.in_order:
                bucket = f"{checked.bucket}/" if is_ambiguous else ""
                show(f"{_label(checked)}  {bucket}{checked.key}")
    return counts, faults


def _label(checked: Checked) -> str:
    """`verified`, `verified (recorded)`, or `missing`."""
    if not checked.verdict:
        return checked.state
    return f"{checked.verdict} ({checked.state})" if checked.state else checked.verdict


def _as_json(checked: Checked, is_ambiguous: bool) -> str:
    fields = {"key": checked.key, "verdict": checked.verdict}
    if checked.state:
        fields["state"] = checked.state
    if is_ambiguous:
        fields["bucket"] = checked.bucket
    return json.dumps(fields)


def _summary(counts: Counter[str]) -> str:
    parts = ", ".join(f"{count} {label}" for label, count in sorted(counts.items()))
    return f"{counts.total()} deliver{'y' if counts.total() == 1 else 'ies'}: {parts}"


def _why_nothing(archive: Archive, options: ReadOptions, rejected: bool) -> str:
    """No such app, nothing in that time, or nothing at all."""
    kind = "refused delivery" if rejected else "delivery"
    apps = archive.refused_apps() if rejected else [stream.app for stream in archive.apps()]
    if not apps:
        folder = f"{archive.settings.folder}/" if archive.settings.folder else ""
        places = ", ".join(f"{folder}{place.bucket}/{place.prefix}" for place in archive.places)
        return f"There is no {kind} in {places}. Try another --bucket or --stage"
    if options.app and options.app not in apps:
        return f"There is no {kind} of app {options.app!r}. Apps there are: {', '.join(apps)}"
    return f"No {kind} arrived in that time. Try another --since or --until"
