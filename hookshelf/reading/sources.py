"""Which source splits a delivery, without a look at its app's secrets."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

from chalicelib.apps import entries
from chalicelib.sources import Source, generic, source_named, source_names
from hookshelf.reading.rows import SPLITTER


@dataclass(frozen=True, slots=True)
class Splitting:
    """How the deliveries of one app are split; another fingerprint asks for new files."""

    configured: Source | None
    fallback: Source
    asked: tuple[str, dict[str, str]]  # app and environment, for another process
    fingerprint: str  # version of the splitter, and hash of the app's `source` and `paths`

    def source(self, metadata: Mapping[str, str]) -> Source:
        """The configured source, else that of the delivery's arrival, else the app's namesake."""
        if self.configured:
            return self.configured
        named = metadata.get("source", "")
        return source_named(named) if named in source_names() else self.fallback


def splitting_of(app: str, environ: Mapping[str, str]) -> Splitting:
    """How an app is split. Raises SettingError for an APPS_FILE that cannot be read."""
    entry: Any = entries(environ).get(app)
    entry = entry if isinstance(entry, dict) else {}
    source, paths = entry.get("source"), entry.get("paths")
    namesake = source_named(app if app in source_names() else "generic")
    configured = source_named(source) if source in source_names() else namesake if entry else None
    if configured is not None and configured.name == "generic" and paths:
        configured = generic.with_paths(paths)
    settings = json.dumps([source, paths], sort_keys=True)
    return Splitting(
        configured,
        namesake,
        (app, dict(environ)),
        f"{SPLITTER}-{sha256(settings.encode()).hexdigest()[:16]}",
    )
