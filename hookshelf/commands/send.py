"""`hookshelf send`: play a sender, to see a deployment work before the real one comes."""

from __future__ import annotations

import json
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path
from typing import TextIO
from urllib.parse import urlencode

import click

from chalicelib.events import parse_json
from chalicelib.sources import Source, generic, source_named, source_names
from hookshelf.local import tryout
from hookshelf.settings import STAGE, stage_environment


@dataclass(frozen=True, slots=True)
class Post:
    """One request to make."""

    headers: dict[str, str]
    body: bytes


@click.command()
@click.option(
    "--source",
    "source_name",
    default="sendgrid",
    show_default=True,
    type=click.Choice(sorted(source_names())),
    help="Who to play.",
)
@click.option("--url", help="The whole URL with token and app. Default: what `make run` serves.")
@click.option("--app", help="The app, where no --url is given. Default: the source's name.")
@click.option("--port", default=8000, show_default=True, help="Of `make run`, without --url.")
@click.option("--sign", "is_signed", is_flag=True, help="Sign as the source does.")
@click.option("--key", type=click.File(), help="Sign with the private key (PEM) in this file.")
@click.option("--secret", envvar="HOOKSHELF_SECRET", help="Sign with it; or $HOOKSHELF_SECRET.")
@click.option("--generate", is_flag=True, help="Sign with a new key or secret, and show it.")
@click.option("--bad-signature", is_flag=True, help="Sign, then change one byte of the signature.")
@click.option(
    "--bytes",
    "file",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="Send the bytes of this file.",
)
@click.option("--count", default=1, show_default=True, type=click.IntRange(1), help="Deliveries.")
@click.option(
    "--repeat",
    default=1,
    show_default=True,
    type=click.IntRange(1),
    help="Send each so often, byte for byte, as a retry does.",
)
@click.option("--reorder", is_flag=True, help="Send the last first.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object per answer.")
def command(
    *,
    source_name: str,
    url: str | None,
    app: str | None,
    port: int,
    is_signed: bool,
    key: TextIO | None,
    secret: str | None,
    generate: bool,
    bad_signature: bool,
    file: Path | None,
    count: int,
    repeat: int,
    reorder: bool,
    as_json: bool,
) -> None:
    """Send realistic deliveries, signed if you like, and show the answers.

    Without a key or secret of yours, --sign uses one for trying out, which stage `local` knows.

    \b
    Exit status: 0 every answer is 2xx, 1 one is not, 2 misuse.

    \b
    Examples:
      hookshelf send --source sendgrid --sign
      hookshelf send --sign --bad-signature
      hookshelf send --count 3 --repeat 2 --reorder
      hookshelf send --source stripe --secret whsec_... --url 'https://.../api/input?token=...&app=stripe'
    """
    source = source_named(source_name)
    if not (is_signed or key or secret or generate or bad_signature):
        signing_key = None
    elif source.sign is None:
        raise click.UsageError(f"{source_name} does not sign. Leave out --sign")
    else:
        signing_key = _signing_key(source, key, secret, generate)
    where = url or _local_url(app or source_name, port)
    try:
        posts = list(_posts(source, signing_key, file, count, bad_signature))
    except (ValueError, TypeError) as error:  # TypeError: a private key with a password
        raise click.UsageError(
            f"{source_name} cannot sign with that key or secret: {error}"
        ) from None
    order = list(reversed(posts)) if reorder else posts
    statuses = [_show(post, where, as_json) for post in order for _ in range(repeat)]
    sys.exit(0 if all(200 <= status < 300 for status in statuses) else 1)


def _signing_key(source: Source, key: TextIO | None, secret: str | None, generate: bool) -> str:
    if generate:
        found = tryout.new_key(source)
        shown = found if source.secret else tryout.public_key_of(found)
        click.echo(f"{'secret' if source.secret else 'public key'}: {shown}", err=True)
        return found
    if key:
        return key.read()
    return secret or tryout.signing_key(source)


def _local_url(app: str, port: int) -> str:
    token = stage_environment(STAGE)["STAGE_VAR_validToken"]
    return f"http://127.0.0.1:{port}/input?{urlencode({'token': token, 'app': app})}"


def _posts(
    source: Source, key: str | None, file: Path | None, count: int, bad_signature: bool
) -> Iterator[Post]:
    at = int(time.time())
    example = source.example or generic.example
    for n in range(1, count + 1):
        body = file.read_bytes() if file else example(n, at)
        signature = source.sign(body, key, at) if key and source.sign else {}
        if bad_signature:
            signature = _spoiled(source, signature)
        yield Post({"content-type": "application/json", **signature}, body)


def _spoiled(source: Source, headers: dict[str, str]) -> dict[str, str]:
    name = source.signature_headers[0]
    middle = len(headers[name]) * 3 // 4  # inside the digest, whatever is written around it
    other = "1" if headers[name][middle] == "0" else "0"
    return headers | {name: headers[name][:middle] + other + headers[name][middle + 1 :]}


def _show(post: Post, url: str, as_json: bool) -> int:
    status, text = _answer(post, url)
    if as_json:
        click.echo(json.dumps({"status": status, "answer": parse_json(text)}))
    else:
        click.echo(f"{status}  {text}")
    return status


def _answer(post: Post, url: str) -> tuple[int, str]:
    try:
        request = urllib.request.Request(url, data=post.body, headers=post.headers, method="POST")
        with urllib.request.urlopen(request, timeout=30) as response:
            return response.status, response.read().decode(errors="replace")
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode(errors="replace")
    except (OSError, ValueError, HTTPException) as error:
        # Not the error's own text: it may hold the URL, and so the token.
        reason = getattr(error, "reason", None) or type(error).__name__
        raise click.ClickException(f"No answer: {reason}. Is `make run` running?") from None
