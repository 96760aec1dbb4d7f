"""What stage `local` knows besides the apps file, so that `hookshelf send --sign` is verified.

The keys are the same everywhere and protect nothing; no Lambda function ever takes them, see
apps.entries. hookshelf/local/tryout.py holds the private halves.
"""

from __future__ import annotations

from typing import Any

SECRET = "whsec_eYandf49KaREYaVI9FYhOqkfJvqG7GXQMOnPYzMuvtw="
PUBLIC_KEY = (
    "MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEGzpLjOx0rqZB0/wCc6UjP4Ch32QVk2PtuM38bR/"
    "LIMsLY/fnR+j2BPMdw5qcKCnnx+Vrpsv1S9kCcQmzx4Ui4w=="
)
PRINCIPAL = "arn:aws:iam::123456789012:user/sumo"  # of LOCAL_IAM_CREDENTIALS at stage local

APPS: dict[str, dict[str, Any]] = {
    "payments": {"source": "stripe", "secrets": [SECRET], "signature": "require"},
    "sendgrid": {"source": "sendgrid", "public_keys": [PUBLIC_KEY]},
    "sumo": {"any_body": True, "principals": [PRINCIPAL]},
    **{
        source: {"source": source, "secrets": [SECRET]}
        for source in ("github", "meta", "slack", "standard", "stripe", "svix")
    },
}
