"""What importing costs: `python bench/imports.py [RUNS]`, in a checkout with its environment.

Each figure is the median of RUNS fresh interpreters (15 unless given), in rounds, so that a busy
moment falls on all of them alike; the ratio is to `import chalice`. "over" is what a line costs
more than the one it builds on. Modules are compiled beforehand, as they are after a first run.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import time
from importlib.util import find_spec
from pathlib import Path
from pkgutil import iter_modules

PROJECT = Path(__file__).resolve().parent.parent
KEY = (  # a P-256 public key, as SendGrid shows it
    "MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAE83T4O/n84iotIvIW4mdBgQ/7dAfSmpqIM8kF9mN1flpVKS3GRqe62gw"
    "+2fNNRaINXvVpiglSI8eNEc6wEA3F+g=="
)
NOTHING, CHALICE, APP, SENDGRID = "an empty program", "chalice", "app", "app + source sendgrid"


def programs() -> dict[str, tuple[str, str]]:
    """By name: what it builds on, and the program."""
    found = {
        NOTHING: ("", ""),
        CHALICE: (NOTHING, "import chalice"),
        APP: (CHALICE, "import app"),
    }
    for module in iter_modules([str(PROJECT / "chalicelib" / "sources")]):
        program = f"import app, chalicelib.sources.{module.name}"
        found[f"app + source {module.name}"] = (APP, program)
    reads_key = (
        f"import app\nfrom chalicelib.sources.sendgrid import SOURCE\nSOURCE.public_key({KEY!r})"
    )
    found["… and its public key read (cryptography)"] = (SENDGRID, reads_key)
    found["app + store obstore"] = (APP, "import app, chalicelib.store.s3_obstore")
    found["app + store boto3"] = (APP, "import app, chalicelib.store.s3_boto3")
    found["app + models (pydantic)"] = (APP, "import app, chalicelib.models")
    counted = "metrics.metric_fields({'METRICS_NAMESPACE': 'n'}, datetime.now(UTC), status=200)"
    ours = f"import app; from datetime import *; from chalicelib import metrics; {counted}"
    found["app + metrics, ours"] = (APP, ours)
    if find_spec("aws_lambda_powertools"):  # pip install aws-lambda-powertools, to compare
        powertools = "from aws_lambda_powertools import Metrics; Metrics(namespace='n')"
        found["app + metrics by Powertools"] = (APP, f"import app; {powertools}")
    return found


def milliseconds(program: str) -> float:
    """How long a fresh interpreter takes, start and end included."""
    environ = os.environ | {"PYTHONPATH": str(PROJECT)}
    started = time.perf_counter()
    subprocess.run([sys.executable, "-c", program], env=environ, check=True)
    return (time.perf_counter() - started) * 1000


def main() -> None:
    """Measure, and print a table."""
    runs = int(sys.argv[1]) if len(sys.argv) > 1 else 15
    every = programs()
    for _, program in every.values():
        milliseconds(program)
    rounds = [{name: milliseconds(every[name][1]) for name in every} for _ in range(runs)]
    median = {name: statistics.median(each[name] for each in rounds) for name in every}
    print(f"Python {sys.version.split()[0]}, median of {runs} interpreters\n")
    print(f"{'imported':<44}{'ms':>8}{'over':>8}{'ratio':>8}")
    for name, (base, _) in every.items():
        over = f"{median[name] - median[base]:.1f}" if base else ""
        ratio = median[name] / median[CHALICE]
        print(f"{name:<44}{median[name]:>8.1f}{over:>8}{ratio:>8.2f}")


if __name__ == "__main__":
    main()
