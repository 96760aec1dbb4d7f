"""What every verb needs of AWS: its refusals said to a person, and where its hosts are."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import click
from botocore.exceptions import BotoCoreError, ClientError, NoCredentialsError, NoRegionError


@contextmanager
def refusals() -> Iterator[None]:
    """Within it what AWS refuses, or a desk that is not set up for it, is a message."""
    try:
        yield
    except NoRegionError:
        raise click.UsageError("No AWS region. Set AWS_DEFAULT_REGION, or a profile") from None
    except NoCredentialsError:
        raise click.UsageError("No AWS credentials. Set AWS_PROFILE, or log in") from None
    except (BotoCoreError, ClientError) as error:
        raise click.ClickException(f"AWS refused: {error}") from None


def domain(partition: str) -> str:
    """Where the hosts of a partition are, such as `aws` or `aws-cn`."""
    return "amazonaws.com.cn" if partition == "aws-cn" else "amazonaws.com"
