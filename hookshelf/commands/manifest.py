"""`hookshelf manifest`: the head of the log of what there is, to be kept elsewhere."""

from __future__ import annotations

import json

import click

from hookshelf.commands._options import ReadOptions, reading_options
from hookshelf.commands._output import go_on
from hookshelf.terminal import show


@click.command()
@reading_options
def command(options: ReadOptions) -> None:
    """Print the newest entry of each app's manifest log, and its SHA-256.

    The log says which deliveries there are, and what was changed and why; each entry holds the
    SHA-256 of the one before. Whoever can write to the bucket could write all of it anew: a head
    that is kept elsewhere, on paper for one, proves with `hookshelf verify --manifest` that nobody
    did.

    \b
    Exit status: 0 printed, 1 the archive could not be read, or there is no log yet, 2 misuse.

    \b
    Examples:
      hookshelf manifest
      hookshelf manifest --app sendgrid --json
    """
    from hookshelf import Archive

    archive = Archive(
        options.bucket, app=options.app, environ=options.environ, below=options.bucket is None
    )
    heads = [head for head in archive.manifests() if head.number]
    for head in heads:
        if options.as_json:
            stream = head.stream
            fields = {"bucket": stream.bucket, "prefix": stream.prefix, "app": stream.app}
            show(json.dumps({**fields, "number": head.number, "sha256": head.sha256}))
        else:
            show(f"{head.sha256}  {head.number:>8}  {head.stream}")
    if not heads:
        raise click.ClickException(
            "There is no manifest log yet: it is written as ended days are compacted. "
            f"Try: {go_on(options, 'compact')}"
        )
    check = go_on(options, "verify", *(word for h in heads for word in ("--manifest", h.sha256)))
    show(f"Keep it elsewhere, and check with it later:  {check}", err=True)
