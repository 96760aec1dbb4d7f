"""The checks in order: their numbers are those of the table in docs/proof.md."""

from __future__ import annotations

from hookshelf.smoke import api_gateway, athena, compactor, functions, metrics, s3

CHECKS = (
    api_gateway.survives_redeploy,
    api_gateway.survives_new_deployment,
    api_gateway.no_accept,
    api_gateway.whatever_accept,
    api_gateway.responses_of_its_own,
    api_gateway.plain_text,
    api_gateway.compressed,
    api_gateway.every_byte,
    api_gateway.largest,
    api_gateway.too_large,
    api_gateway.throttled,
    functions.no_room,
    s3.taken,
    s3.put_once_policy,
    s3.copied,
    functions.certificates,
    functions.latency,
    functions.signed_requests,
    functions.dead_letter,
    functions.logs,
    metrics.overridden_status,
    metrics.quiet_alarms,
    compactor.compactor,
    athena.reads_in_place,
)
