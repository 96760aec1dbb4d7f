"""Packages that are made in seconds, and what is in those that take longer."""

import struct
import zipfile
from pathlib import Path

import pytest

from hookshelf.deploy import package

# Of an ELF header; https://refspecs.linuxfoundation.org/elf/gabi4+/ch4.eheader.html
X86_64, AARCH64 = 62, 183


def leave_out_wheels(patch: pytest.MonkeyPatch) -> None:
    """Package our own code alone; tests/deploy/test_package_runs.py has what ships beside it."""
    for ships in ("SHIPS", "COMPACTOR_SHIPS"):
        names = [name for name in getattr(package, ships) if not name.startswith("requirements")]
        patch.setattr(package, ships, tuple(names))


def machines(package: Path) -> set[int]:
    """The machines that the zip's shared libraries are for."""
    with zipfile.ZipFile(package) as archive:
        return {
            struct.unpack_from("<H", archive.read(name), 18)[0]
            for name in archive.namelist()
            if ".so" in Path(name).suffixes
        }
