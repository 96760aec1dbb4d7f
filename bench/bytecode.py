"""What bytecode in the zip saves: `python bench/bytecode.py [RUNS]`, in a checkout.

Packages stage dev for this machine as `make package` does, unzips it twice, takes the bytecode out
of one, and imports what a function imports at a cold start, each time in a fresh interpreter of the
packaged version. Nothing may write bytecode, as in Lambda. Medians of RUNS (15), in rounds.
"""

from __future__ import annotations

import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
import zipfile
from pathlib import Path

PROJECT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(PROJECT))

from hookshelf.deploy import package, template  # noqa: E402
from hookshelf.deploy.plan import package_request  # noqa: E402

CRYPTOGRAPHY = "cryptography.hazmat.primitives.serialization"
PROGRAMS = {
    "the app": "import app",
    "… with a first put and a public key": f"import app, obstore.store, {CRYPTOGRAPHY}",
    "a direct invoke (pydantic)": "import app; from chalicelib import direct",
    "a notification (requests)": "import app; from chalicelib import snowplow",
}


def milliseconds(python: Path, folder: Path, program: str) -> float:
    """How long a fresh interpreter takes in a folder, without any other package."""
    environ = {"PATH": os.environ["PATH"], "PYTHONDONTWRITEBYTECODE": "1", "PYTHONPATH": "."}
    started = time.perf_counter()
    subprocess.run([python, "-S", "-c", program], cwd=folder, env=environ, check=True)
    return (time.perf_counter() - started) * 1000


def main() -> None:
    """Package, measure, and print a table."""
    runs = int(sys.argv[1]) if len(sys.argv) > 1 else 15
    python = package.best_python()
    machine = "arm64" if platform.machine() in ("aarch64", "arm64") else "x86_64"
    options = template.Options("dev")
    request = package_request({"ARCHIVE_BUCKETS": "my-bucket"}, options, architecture=machine)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        archive = package.build(request, folder / "build", python=python).zip
        folders = {"with": folder / "with", "without": folder / "without"}
        for each in folders.values():
            with zipfile.ZipFile(archive) as opened:
                opened.extractall(each)
        for cache in list(folders["without"].rglob("__pycache__")):
            shutil.rmtree(cache)
        print(f"{archive.stat().st_size:,} bytes, {python}, medians of {runs}, milliseconds\n")
        print(f"{'imported':<40}{'without':>9}{'with':>9}{'ratio':>8}")
        for title, program in PROGRAMS.items():
            rounds = [
                {key: milliseconds(python, each, program) for key, each in folders.items()}
                for _ in range(runs)
            ]
            found = {key: statistics.median(one[key] for one in rounds) for key in folders}
            ratio = found["with"] / found["without"]
            print(f"{title:<40}{found['without']:>9.1f}{found['with']:>9.1f}{ratio:>8.2f}")


if __name__ == "__main__":
    main()
