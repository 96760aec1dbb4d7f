"""What obstore's exceptions say, on which chalicelib/store/obstore.py rests."""

import obstore
import pytest
from obstore.exceptions import (
    AlreadyExistsError,
    GenericError,
    PermissionDeniedError,
    UnauthenticatedError,
)
from support.faulty_s3 import FaultyS3, dropped, garbage, hang, no_etag, status
from support.project import CREDENTIALS

from chalicelib.delivery import ArchiveObject
from chalicelib.settings import from_environment
from chalicelib.store import NotStored
from chalicelib.store._retry import STORED, permanent, retryable
from chalicelib.store.obstore import ObstoreStore, _judge

BODY = b'[{"email": "ada@example.com", "event": "delivered"}]'
OBJ = ArchiveObject("shop/x.json", BODY, "application/json", {"layout": "1"})


def _obstore(s3: FaultyS3) -> ObstoreStore:
    environ = {"AWS_ENDPOINT_URL_S3": s3.endpoint, "ARCHIVE_BUCKETS": "events"}
    return ObstoreStore(from_environment({**CREDENTIALS, **environ}), "events")


def _exception(s3: FaultyS3) -> BaseException:
    """What obstore itself raises when an object is put."""
    writer = _obstore(s3)._writer
    try:
        obstore.put(writer, OBJ.key, OBJ.body, mode="create", use_multipart=False)
    except BaseException as error:
        return error
    raise AssertionError("it was stored")


@pytest.mark.parametrize(
    ("code", "name", "kind", "text", "meaning"),
    [
        (412, "PreconditionFailed", AlreadyExistsError, "status code: 412", STORED),
        (409, "ConditionalRequestConflict", AlreadyExistsError, "status code: 409", "again"),
        (404, "NoSuchBucket", FileNotFoundError, "status code: 404", "hopeless"),
        (403, "AccessDenied", PermissionDeniedError, "status code: 403", "hopeless"),
        (401, "Who", UnauthenticatedError, "status code: 401", "hopeless"),
        (400, "RequestTimeout", GenericError, "<Code>RequestTimeout</Code>", "again"),
        (400, "InvalidRequest", GenericError, "<Code>InvalidRequest</Code>", "hopeless"),
        (429, "TooManyRequests", GenericError, "status code: 429", "again"),
        (500, "InternalError", GenericError, "status code: 500", "again"),
        (503, "SlowDown", GenericError, "status code: 503", "again"),
    ],
)
def test_obstore_tells_a_status_only_in_its_text(code, name, kind, text, meaning):
    with FaultyS3([status(code, name)]) as s3:
        error = _exception(s3)

    expected = {"again": retryable(f"{code} {name}"), "hopeless": permanent(f"{code} {name}")}
    assert type(error) is kind
    assert text in str(error)
    assert not hasattr(error, "status")
    assert _judge(error) == expected.get(meaning, meaning)


@pytest.mark.parametrize(
    ("fault", "text", "why"),
    [
        (hang, "kind: Timeout", "timeout"),
        (dropped, "IncompleteMessage", "GenericError"),
        (garbage, "Parse(", "GenericError"),
        (no_etag, "MissingEtag", "GenericError"),
    ],
)
def test_what_obstore_says_without_a_status_is_attempted_again(fault, text, why):
    with FaultyS3([fault]) as s3:
        error = _exception(s3)

    assert text in str(error)
    assert _judge(error) == retryable(why)


def test_the_server_s_own_words_are_not_taken_for_a_status():
    with FaultyS3([status(503, "non-2xx status code: 412 Precondition Failed")]) as s3:
        error = _exception(s3)

    assert "non-2xx status code: 412" in str(error)
    assert _judge(error) == retryable("503")


@pytest.mark.parametrize("where", ["metadata", "content type"])
def test_a_control_character_is_not_stored_and_the_process_lives(where):
    with FaultyS3() as s3:
        store = _obstore(s3)
        bad = {"h-x": "a\nb"} if where == "metadata" else {}
        kind = "text/\x00plain" if where == "content type" else OBJ.content_type

        with pytest.raises(NotStored, match="PanicException"):
            store.put(ArchiveObject(OBJ.key, BODY, kind, bad), seconds=0)

        assert s3.requests == []
        assert store.put(OBJ) == 1
