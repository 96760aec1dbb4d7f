"""Serve at your desk: check, print one curl line that works, become `chalice local`."""

from __future__ import annotations

import argparse
import os
import shlex
import socket
import sys
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import urlencode

import click

from chalicelib.models import check_apps
from chalicelib.settings import PROJECT_ROOT, SettingError, from_environment
from hookshelf.settings import STAGE, environment

SAMPLE = PROJECT_ROOT / "tests" / "samples" / "sendgrid" / "batch" / "body.json"
_TOKEN = "STAGE_VAR_validToken"
# What the `chalice` script does, but Ctrl-C is a good end, even while modules are being imported.
_CHALICE = """import signal, sys
signal.signal(signal.SIGINT, lambda *_: sys.exit(0))
from chalice.cli import main
sys.exit(main())"""


def main() -> None:
    """Check, say what to do next, and hand this process over to `chalice local`."""
    parser = argparse.ArgumentParser(prog="python -m hookshelf.local.serve", description=__doc__)
    parser.add_argument("--port", type=int, default=8000)
    port = parser.parse_args().port
    try:
        _check_port(port)
        environ = environment(STAGE)
        check_apps(environ)
        print(_welcome(environ, port), flush=True)
    except (SettingError, OSError, ValueError) as error:
        sys.exit(f"Error: {error}")
    except click.UsageError as error:
        sys.exit(f"Error: {error.message}")
    os.chdir(PROJECT_ROOT)
    # Chalice imports blessed, which would question the terminal and wait seconds for its answers.
    os.environ["NO_COLOR"] = "1"
    local = ["local", "--stage", "local", "--no-autoreload", "--host", "127.0.0.1"]
    os.execv(sys.executable, [sys.executable, "-u", "-c", _CHALICE, *local, "--port", str(port)])


def _check_port(port: int) -> None:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as the server itself does
        try:
            probe.bind(("127.0.0.1", port))
        except (OSError, OverflowError) as error:
            raise ValueError(f"Port {port}: {error}. Try: PORT=8001 make run") from None


def _welcome(environ: Mapping[str, str], port: int) -> str:
    settings = from_environment(environ)
    tokens = [token.strip() for token in environ.get(_TOKEN, "").split(",") if token.strip()]
    if not tokens:
        raise SettingError(_TOKEN, "is not set. Put a token under stage `local` of config.json")
    plain = next((token for token in tokens if not token.startswith("sha256:")), "YOUR-TOKEN")
    url = f"http://127.0.0.1:{port}/input?" + urlencode({"token": plain, "app": "sendgrid"})
    send = ["curl", url, "-H", "content-type: application/json", "--data-binary", f"@{SAMPLE}"]
    where = PROJECT_ROOT / Path(settings.folder).expanduser() if settings.folder else "S3"
    return f"""Deliveries are archived in {where}, bucket {settings.bucket_paths[0].bucket}.
Ctrl-C stops the server. In another terminal, send it a batch of SendGrid's events:

{shlex.join(send)}
"""


if __name__ == "__main__":
    main()
