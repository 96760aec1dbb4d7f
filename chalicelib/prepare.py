"""What a first delivery needs, made while Lambda starts the container.

Lambda starts a container with a whole CPU and bills it like an invoke; the invoke that follows has
the share that comes with the function's memory, a seventh of one at 256 MB.
https://docs.aws.amazon.com/lambda/latest/dg/lambda-runtime-environment.html
"""

from __future__ import annotations

import gc
import os
from collections.abc import Mapping
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

from chalicelib import secrets, signatures
from chalicelib.apps import app_named, entries
from chalicelib.delivery import Delivery
from chalicelib.settings import from_environment
from chalicelib.sources import source_named
from chalicelib.store import open_store

# The system's CA roots in one file: Lambda's, and Debian's. With no file named, obstore's TLS reads
# every one of them twice, as they are in the folder beside it, too: 3 ms.
CA_ROOTS = ("/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/certs/ca-certificates.crt")


def prepare(environ: Mapping[str, str]) -> None:
    """Open the default bucket's store, and read what is configured of each app. Raises nothing.

    What is wrong is wrong again for the delivery that it concerns, and is responded to and logged
    there. No secret is looked up at AWS: that waits for the first delivery that needs it.
    """
    gc.disable()  # nothing of what is loaded here is garbage: 3 ms
    os.environ.setdefault("TOKIO_WORKER_THREADS", "1")  # obstore's: there is one delivery at a time
    for path in filter(os.path.exists, CA_ROOTS):
        os.environ.setdefault("SSL_CERT_FILE", path)
    with suppress(Exception):
        settings = from_environment(environ)
        open_store(settings, settings.bucket_paths[0].bucket)
    with suppress(Exception):
        source_named("generic")
        for name, entry in entries(environ).items():
            with suppress(Exception):
                _prepare_app(name, entry, environ)
    gc.freeze()  # nor will it ever be
    gc.enable()
    with suppress(AttributeError, OSError):  # not every system lets a process choose
        _stay_on_one_core()


def _stay_on_one_core() -> None:
    """Let this thread and obstore's, which take turns, hand over without waking another core.

    That wakes it through the hypervisor: a tenth of a warm delivery's CPU. By the process, so that
    several functions on one machine share out its cores. obstore's begins with its first put.
    """
    cores = sorted(os.sched_getaffinity(0))
    os.sched_setaffinity(0, {cores[os.getpid() % len(cores)]})


def _prepare_app(name: str, entry: Mapping[str, Any], environ: Mapping[str, str]) -> None:
    texts = [*entry.get("secrets", ()), *entry.get("public_keys", ())]
    if any(map(secrets.is_looked_up, texts)):
        return
    app = app_named(name, environ)
    # Checked once, though nothing is signed: that loads what checking needs.
    headers = dict.fromkeys(app.source.signature_headers, "0")
    signatures.verdict(Delivery(name, headers, b"", datetime.fromtimestamp(0, UTC)), app)
