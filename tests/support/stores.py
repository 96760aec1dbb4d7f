"""Every store there is, and where a test may archive with it. A new store is added here."""

import pytest

from chalicelib.store import store_names

# By name: the fixture of tests/conftest.py whose settings name an empty place to archive into.
PLACES = {"folder": "folder_environ", "obstore": "s3_environ", "boto3": "s3_environ"}
STORES = list(PLACES)
ON_S3 = [name for name, place in PLACES.items() if place == "s3_environ"]

_NAMES = ["auto", *sorted(store_names())]
CLIENTS = f"{', '.join(_NAMES[:-1])} or {_NAMES[-1]}"  # what ARCHIVE_CLIENT may be, as errors say


def environ_of(name: str, request: pytest.FixtureRequest) -> dict[str, str]:
    """Settings that archive into an empty place with the store of that name."""
    settings: dict[str, str] = request.getfixturevalue(PLACES[name])
    return {**settings, "ARCHIVE_CLIENT": name}
