"""Serve on your own machine: check, print one curl line that works, serve."""

from __future__ import annotations

import argparse
import json
import os
import shlex
import signal
import socket
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from chalicelib.apps import apps_file, entries, file_entries
from chalicelib.errors import HookshelfError, MisuseError
from chalicelib.models import check_apps
from chalicelib.settings import from_environment
from hookshelf.local.address import HOST, local_url
from hookshelf.project import PROJECT_ROOT
from hookshelf.settings import CONFIG, LOCAL_STAGE, overridden, stage_environment
from hookshelf.terminal import show

Serve = Callable[[Mapping[str, str], int], None]  # with these settings, on this port
SAMPLE = PROJECT_ROOT / "tests" / "samples" / "sendgrid" / "batch" / "body.json"


def main(arguments: Sequence[str] | None = None, serve: Serve | None = None) -> None:
    """Check, say what to do next, and serve until Ctrl-C. Ends the process where it cannot."""
    parser = argparse.ArgumentParser(prog="python -m hookshelf.local.serve", description=__doc__)
    parser.add_argument("--port", default="8000")
    try:
        port = _port(parser.parse_args(arguments).port)
        variables = stage_environment(LOCAL_STAGE)
        environ = {**os.environ, **variables}
        check_apps(environ)
        for name in overridden(variables):
            show(f"{name} of the shell does not count: stage {LOCAL_STAGE} of {CONFIG} sets it.")
        print(_welcome(environ, port), flush=True)
    except HookshelfError as error:
        show(f"Error: {error}", err=True)
        sys.exit(1)
    (serve or _serve)(environ, port)


def _port(text: str) -> int:
    """A port that is free on this machine. Raises MisuseError."""
    if not (text.isascii() and text.isdigit() and 0 < int(text) < 65536):
        raise MisuseError(f"Port {text}: use a number from 1 to 65535. Try: PORT=8001 make run")
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as the server itself does
        try:
            probe.bind((HOST, int(text)))
        except OSError as error:
            raise MisuseError(f"Port {text}: {error}. Try: PORT=8001 make run") from None
    return int(text)


def _welcome(environ: Mapping[str, str], port: int) -> str:
    settings = from_environment(environ)
    url = local_url(environ, port, "sendgrid")
    send = ["curl", url, "-H", "content-type: application/json", "--data-binary", f"@{SAMPLE}"]
    archive = PROJECT_ROOT / Path(settings.folder).expanduser() if settings.folder else "S3"
    path, configured = Path(apps_file(environ)), file_entries(environ)
    apps_line = f"Apps file: {path}" + (
        f": {', '.join(configured) or 'no app'}." if path.exists() else ", which need not be there."
    )
    tryout = ", ".join(sorted(set(entries(environ)) - set(configured))) or "none"
    return f"""Deliveries are archived in {archive}, bucket {settings.bucket_paths[0].bucket}.
{apps_line}
Apps with a key for trying out: {tryout}.
Ctrl-C stops the server. In another terminal, send it a batch of SendGrid's events:

{shlex.join(send)}
"""


def _serve(environ: Mapping[str, str], port: int) -> None:
    """Serve the app as `chalice local --stage local` would, which takes a second longer to load."""
    os.chdir(PROJECT_ROOT)
    sys.path.insert(0, str(PROJECT_ROOT))
    os.environ |= {**environ, "AWS_CHALICE_CLI_MODE": "true"}
    from chalice.config import Config

    from app import app
    from chalicelib.local_server import LocalServer

    config = Config(LOCAL_STAGE, config_from_disk=json.loads(CONFIG.read_text(encoding="utf-8")))
    LocalServer(app, config, HOST, port).serve_forever()


if __name__ == "__main__":
    signal.signal(signal.SIGINT, lambda *_: sys.exit(0))  # even while modules are being imported
    main()
