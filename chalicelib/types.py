"""Types that have no home of their own."""

from __future__ import annotations

from typing import Any, Literal

Json = dict[str, Any]  # a JSON object

# What checking a sender's signature gave, see signatures.verdict.
Verdict = Literal["verified", "bad", "stale", "unsigned", "unchecked"]

# What an app asks of a signature: it must be good, it is written down, it is not looked at.
SignatureMode = Literal["require", "record", "ignore"]
