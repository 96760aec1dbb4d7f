"""The fifteen checks, in order: their numbers are those of the table in docs/proof.md."""

from __future__ import annotations

from hookshelf.smoke import bucket, front, running

CHECKS = (
    front.survives_redeploy,
    front.survives_new_deployment,
    front.no_accept,
    front.plain_text,
    front.every_byte,
    front.largest,
    front.too_large,
    front.throttled,
    bucket.taken,
    bucket.put_once,
    running.certificates,
    running.latency,
    running.signed_door,
    running.dead_letter,
    running.logs,
)
