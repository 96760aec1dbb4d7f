"""What stage `local` knows besides the apps file, so that `hookshelf send --sign` is verified.

The keys are the same everywhere and protect nothing; no Lambda function ever takes them, see
apps.entries. hookshelf/local/tryout.py holds the private halves.
"""

from __future__ import annotations

from functools import cache
from typing import Any

from chalicelib.sources import Source, source_named, source_names

SECRET = "whsec_eYandf49KaREYaVI9FYhOqkfJvqG7GXQMOnPYzMuvtw="
PUBLIC_KEY = (
    "MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEGzpLjOx0rqZB0/wCc6UjP4Ch32QVk2PtuM38bR/"
    "LIMsLY/fnR+j2BPMdw5qcKCnnx+Vrpsv1S9kCcQmzx4Ui4w=="
)
PRINCIPAL = "arn:aws:iam::123456789012:user/sumo"  # of LOCAL_IAM_CREDENTIALS at stage local


@cache
def tryout_apps() -> dict[str, dict[str, Any]]:
    """The entry of each app by its name: one named like each source that `send --sign` signs as."""
    named_like_sources = {
        name: _entry(source)
        for name in sorted(source_names())
        if (source := source_named(name)).sign or source.sign_body
    }
    return {
        "payments": {**_entry(source_named("stripe")), "signature": "require"},
        "sumo": {"any_body": True, "principals": [PRINCIPAL]},
        **named_like_sources,
    }


def _entry(source: Source) -> dict[str, Any]:
    key = {"secrets": [SECRET]} if source.secret else {"public_keys": [PUBLIC_KEY]}
    return {"source": source.name, **key}
