"""python -m fuzz TARGET [libFuzzer's options]: one target under atheris, which is installed.

What is new in its corpus stays in build/fuzz/<target>/; what crashed it is worth a test.
"""

import sys
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["chalicelib", "hookshelf"]):
    from fuzz.targets import TARGETS

HERE = Path(__file__).parent


def main() -> None:
    """Run one target until libFuzzer's options end it, or it crashes."""
    name = sys.argv[1]
    new = HERE.parents[1] / "build" / "fuzz" / name
    new.mkdir(parents=True, exist_ok=True)
    crashes = f"-artifact_prefix={new}-crash-"
    kept = HERE / "corpus" / name
    arguments = [sys.argv[0], str(new), str(kept), crashes, "-max_len=4096", *sys.argv[2:]]
    atheris.Setup(arguments, TARGETS[name])
    atheris.Fuzz()


if __name__ == "__main__":
    main()
