"""Where the project is that is run, deployed and looked at from here."""

from __future__ import annotations

from pathlib import Path

from chalicelib.settings import ROOT

PROJECT_ROOT = Path(ROOT)  # where app.py is
