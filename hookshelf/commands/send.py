"""`hookshelf send`: play a sender, to see a deployment work before the real one comes."""

from __future__ import annotations

import json
import re
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path
from typing import TextIO
from urllib.parse import urlsplit

import click

from chalicelib.errors import HookshelfError
from chalicelib.events import parse_json
from chalicelib.sources import Source, generic, source_named, source_names
from hookshelf.local import tryout
from hookshelf.local.address import local_url
from hookshelf.settings import LOCAL_STAGE, stage_environment
from hookshelf.terminal import show


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
@click.option(
    "--port",
    default=8000,
    show_default=True,
    type=click.IntRange(1, 65535),
    help="Of `make run`, without --url.",
)
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
@click.option("--json", "as_json", is_flag=True, help="One JSON object per response.")
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
    """Send realistic deliveries, signed if you like, and show the responses.

    Without a key or secret of yours, --sign uses one for trying out, which stage `local` knows.

    \b
    Exit status: 0 every response is 2xx, 1 one is not, 2 misuse.

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
    elif not (source.sign or source.sign_body):
        raise click.UsageError(f"{source_name} does not sign. Leave out --sign")
    else:
        signing_key = _signing_key(source, key, secret, generate)
    if url:
        target = _checked(url)
    else:
        target = local_url(stage_environment(LOCAL_STAGE), port, app or source_name)
    hint = "Is the address right?" if url else "Is `make run` running?"
    if file and not file.stat().st_size:
        show(f"{file} is empty: what is sent is an empty body.", err=True)
    try:
        # A bad one is such as a forger makes, who has a key, but not the right one.
        used_key = tryout.new_key(source) if bad_signature else signing_key
        posts = list(_posts(source, used_key, file, count))
    except (ValueError, TypeError) as error:  # TypeError: a private key with a password
        raise click.UsageError(
            f"{source_name} cannot sign with that key or secret: {error}"
        ) from None
    order = list(reversed(posts)) if reorder else posts
    statuses = [_send(post, target, hint, as_json) for post in order for _ in range(repeat)]
    sys.exit(0 if all(200 <= status < 300 for status in statuses) else 1)


def _signing_key(source: Source, key: TextIO | None, secret: str | None, generate: bool) -> str:
    if generate:
        generated = tryout.new_key(source)
        shown = generated if source.secret else tryout.public_key_of(generated)
        show(f"{'secret' if source.secret else 'public key'}: {shown}", err=True)
        return generated
    if key:
        return key.read()
    return secret or tryout.signing_key(source)


def _checked(url: str) -> str:
    """The URL, if a request can go there; a message about it does not repeat it."""
    try:
        parts = urlsplit(url)
        is_usable = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
    except ValueError:
        is_usable = False
    if not is_usable or not url.isascii() or not url.isprintable() or " " in url:
        raise click.BadParameter(
            "begin with http:// or https:// and a host, and percent-encode what is no plain letter",
            param_hint="--url",
        )
    return url


def _posts(source: Source, key: str | None, file: Path | None, count: int) -> Iterator[Post]:
    at = int(time.time())
    example = source.example or generic.example
    for n in range(1, count + 1):
        body = file.read_bytes() if file else example(n, at)
        signature = source.sign(body, key, at) if key and source.sign else {}
        body = source.sign_body(body, key, at) if key and source.sign_body else body
        yield Post({"content-type": "application/json", **signature}, body)


def _send(post: Post, url: str, hint: str, as_json: bool) -> int:
    """Send it, show the response, and give its status."""
    status, text = _respond(post, url, hint)
    if as_json:
        show(json.dumps({"status": status, "response": parse_json(text)}))
    else:
        show(f"{status}  {text or '(empty body)'}")
    return status


def _respond(post: Post, url: str, hint: str) -> tuple[int, str]:
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
        raise HookshelfError(f"No response from {_without_token(url)}: {reason}. {hint}") from None


def _without_token(url: str) -> str:
    """Scheme, host and path; a path only as far as no query could begin in it."""
    parts = urlsplit(url)
    path = re.match(r"[A-Za-z0-9/._-]*", parts.path)
    port = f":{parts.port}" if parts.port else ""
    return f"{parts.scheme}://{parts.hostname}{port}{path[0] if path else ''}"
