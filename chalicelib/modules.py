"""Folders that are registries: a module in them is there by being there."""

from __future__ import annotations

import os


def module_names(package_file: str) -> frozenset[str]:
    """The modules beside a package's `__file__` whose names do not begin with an underscore.

    Not pkgutil.iter_modules, which imports `inspect` and costs a cold start 10 ms.
    """
    names = os.listdir(os.path.dirname(package_file))
    return frozenset(name[:-3] for name in names if name.endswith(".py") and name[0] != "_")
