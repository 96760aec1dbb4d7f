"""Memory sizes by time and by money.

Prices are AWS's list prices of us-east-1 for arm64; Lambda bills each millisecond, INIT included.
https://aws.amazon.com/lambda/pricing/
"""

from __future__ import annotations

import math

PER_REQUEST = 0.20 / 1e6  # dollars
PER_GB_SECOND = 0.0000133334  # dollars
S3_WAIT_MS = 20.0  # for S3's own response, on top of what is measured; assumed
COLD = 0.001  # of all deliveries; assumed


def per_million(memory_mb: int, *, init: float, first_invoke: float, warm: float) -> float:
    """Dollars for a million deliveries, from milliseconds."""
    cold = math.ceil(init + first_invoke + S3_WAIT_MS)
    usual = math.ceil(warm + S3_WAIT_MS)
    seconds = (COLD * cold + (1 - COLD) * usual) / 1000
    return 1e6 * (PER_REQUEST + memory_mb / 1024 * seconds * PER_GB_SECOND)
