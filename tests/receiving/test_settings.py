"""What the operator configured: read strictly, and refused with the fix."""

import traceback

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.loops import for_each
from support.stores import CLIENTS

from chalicelib.settings import (
    BucketPath,
    LambdaEnviron,
    SettingError,
    from_environment,
    parse_bucket_path,
)

SECRET = "wJalrXUtnFEMI/K7MDENG/never-to-be-seen"
SESSION = "FwoGZXIvYXdzEBYaD/never-to-be-seen-either"
POINT = "arn:aws:s3:eu-west-1:123456789012:accesspoint/hooks"

segments = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._-]{0,8}", fullmatch=True)
places = st.builds(
    BucketPath,
    st.sampled_from(["events", "team.a", POINT]),
    st.lists(segments, max_size=4).map("/".join),
)


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("events", BucketPath("events")),
        ("events/in", BucketPath("events", "in")),
        ("my.bucket-1/a/B_c/d.e", BucketPath("my.bucket-1", "a/B_c/d.e")),
        ("abc", BucketPath("abc")),
        ("a" * 63, BucketPath("a" * 63)),
        ("events/1/2/3/4/5/6/7/8", BucketPath("events", "1/2/3/4/5/6/7/8")),
        (POINT, BucketPath(POINT)),
        (f"{POINT}/in/shop", BucketPath(POINT, "in/shop")),
    ],
)
def test_a_place_is_a_bucket_and_perhaps_a_path(text, place):
    assert parse_bucket_path(text) == place


@for_each(
    "text",
    [
        *("", "/", "/in", "ab", "a" * 64, "Events", "my_bucket", "-events", "events-", ".events"),
        *("events/", "events//in", "events/in/", "events/../x", "events/.", "events/_rejected"),
        *("events/.in", "events/a b", "events/%2e%2e", "events/in\n", "events\n", " events"),
        *("events/1/2/3/4/5/6/7/8/9", "events/" + "a" * 64, "events/é", "évents", "ｅｖｅｎｔｓ"),
        *("events\\in", "events\0", "s3://events", "https://events", "events,other"),
        *("arn:aws:s3:::events", f"{POINT}/", f"{POINT}/../x", f"{POINT}\n", f"x{POINT}"),
        *(f"{POINT}/in\n", POINT.replace("123456789012", "1"), POINT.replace("hooks", "../hooks")),
    ],
)
def test_anything_else_is_no_place(text):
    assert parse_bucket_path(text) is None


@given(places)
def test_a_place_reads_back_as_it_is_written(place):
    text = f"{place.bucket}/{place.path}" if place.path else place.bucket

    assert parse_bucket_path(text) == place


@given(st.text(st.characters()) | st.text(st.sampled_from("abc./_-:\\%\n\0")))
def test_any_text_is_a_clean_place_or_none(text):
    place = parse_bucket_path(text)

    assert place is None or f"{place.bucket}/{place.path}".rstrip("/") == text
    assert place is None or ".." not in place.path.split("/")


def test_a_prefix_ends_in_a_slash_or_is_empty():
    assert BucketPath("events").prefix == ""
    assert BucketPath("events", "in/shop").prefix == "in/shop/"


@pytest.mark.parametrize(
    ("entry", "asked"),
    [
        ("events", "events"),
        ("events", "events/a"),
        ("events", "events/a/b"),
        ("events/a", "events/a"),
        ("events/a", "events/a/b"),
        ("events/a/b", "events/a/b/c/d"),
    ],
)
def test_an_entry_allows_itself_and_what_lies_below(entry, asked):
    assert read(ARCHIVE_BUCKETS=entry).allowed_path(asked) == parse_bucket_path(asked)


@pytest.mark.parametrize(
    ("entry", "asked"),
    [
        ("events/a", "events"),
        ("events/a", "events/ab"),
        ("events/a", "events/A"),
        ("events/a", "events/b"),
        ("events/a/b", "events/a"),
        ("events/a", "other/a"),
        ("events", "events2"),
        ("events", "event"),
        ("events", ""),
        ("events", "events/"),
        ("events", "events/../other"),
        ("events", " events"),
        ("events", "events\n"),
        ("events,team", "events,team"),
        ("events", POINT),
    ],
)
def test_an_entry_allows_nothing_beside_or_above_it(entry, asked):
    assert read(ARCHIVE_BUCKETS=entry).allowed_path(asked) is None


@given(places, places)
def test_a_place_is_allowed_exactly_where_its_segments_begin_with_the_entrys(entry, asked):
    allowed = entry.path.split("/") if entry.path else []

    below = asked.path.split("/")[: len(allowed)] == allowed
    assert entry.allows(asked) == (entry.bucket == asked.bucket and below)


def test_the_first_entry_is_the_default():
    assert read(ARCHIVE_BUCKETS="events/in, team").allowed_path(None) == BucketPath("events", "in")


def test_every_entry_allows():
    assert read(ARCHIVE_BUCKETS="events/in, team").allowed_path("team/x") == BucketPath("team", "x")


def test_what_is_not_set_has_its_default():
    settings = read(ARCHIVE_BUCKETS="events")

    assert (settings.folder, settings.client, settings.bucket_owner) == ("", "auto", "")
    assert (settings.endpoint, settings.aws) == ("", ())


def test_what_is_set_is_read():
    settings = read(
        ARCHIVE_BUCKETS="events",
        ARCHIVE_FOLDER="./archive",
        ARCHIVE_CLIENT="boto3",
        ARCHIVE_BUCKET_OWNER="123456789012",
        AWS_ENDPOINT_URL="http://127.0.0.1:9000",
        AWS_REGION="eu-west-1",
    )

    assert (settings.folder, settings.client) == ("./archive", "boto3")
    assert settings.bucket_owner == "123456789012"
    assert settings.endpoint == "http://127.0.0.1:9000"
    assert settings.aws == (("AWS_REGION", "eu-west-1"),)


def test_the_endpoint_of_s3_alone_comes_before_that_of_all_services():
    settings = read(
        ARCHIVE_BUCKETS="events",
        AWS_ENDPOINT_URL="http://all.example",
        AWS_ENDPOINT_URL_S3="http://s3.example",
    )

    assert settings.endpoint == "http://s3.example"


def test_white_space_around_a_value_is_not_part_of_it():
    assert read(ARCHIVE_BUCKETS=" events \n").bucket_paths == (BucketPath("events"),)


def test_a_blank_value_is_no_value():
    with pytest.raises(SettingError, match="ARCHIVE_BUCKETS is not set"):
        read(ARCHIVE_BUCKETS=" \n")


def test_the_same_settings_are_read_once():
    assert read(ARCHIVE_BUCKETS="events") is read(ARCHIVE_BUCKETS="events", HOME="/root")


def test_a_changed_setting_is_read_again():
    assert read(ARCHIVE_BUCKETS="events") != read(ARCHIVE_BUCKETS="team")


WRONG = {
    "nothing is set": ({"ARCHIVE_BUCKETS": ""}, "ARCHIVE_BUCKETS", "ARCHIVE_BUCKETS=my-bucket"),
    "a slash at the end": ({"ARCHIVE_BUCKETS": "a-b/"}, "ARCHIVE_BUCKETS", "no slash at the end"),
    "a comma too many": ({"ARCHIVE_BUCKETS": "a-b,"}, "ARCHIVE_BUCKETS", "entry ''"),
    "a URL": ({"ARCHIVE_BUCKETS": "s3://a-b"}, "ARCHIVE_BUCKETS", "bucket or bucket/path"),
    "the template's": ({"ARCHIVE_BUCKETS": "CHANGE-ME"}, "ARCHIVE_BUCKETS", "'CHANGE-ME'"),
    "another client": (
        {"ARCHIVE_CLIENT": "boto"},
        "ARCHIVE_CLIENT",
        f"Use {CLIENTS}",
    ),
    "a client in capitals": ({"ARCHIVE_CLIENT": "Auto"}, "ARCHIVE_CLIENT", "'Auto'"),
    "eleven digits": ({"ARCHIVE_BUCKET_OWNER": "1" * 11}, "ARCHIVE_BUCKET_OWNER", "12 digits"),
    "Arabic digits": ({"ARCHIVE_BUCKET_OWNER": "١" * 12}, "ARCHIVE_BUCKET_OWNER", "12 digits"),
    "no scheme": ({"AWS_ENDPOINT_URL": "localhost:9000"}, "AWS_ENDPOINT_URL", "http://"),
    "no host": ({"AWS_ENDPOINT_URL_S3": "https://"}, "AWS_ENDPOINT_URL_S3", "https://"),
}


@pytest.mark.parametrize(("wrong", "variable", "fix"), WRONG.values(), ids=WRONG)
def test_a_wrong_setting_is_refused_by_name_with_its_fix(wrong, variable, fix):
    with pytest.raises(SettingError) as refusal:
        read(**{"ARCHIVE_BUCKETS": "events"} | wrong)

    assert refusal.value.variable == variable
    assert str(refusal.value).startswith(f"{variable} ")
    assert fix in str(refusal.value)


@pytest.mark.parametrize(("wrong", "variable", "fix"), WRONG.values(), ids=WRONG)
def test_no_refusal_shows_a_secret(wrong, variable, fix):
    with pytest.raises(SettingError) as refusal:
        read(
            **{"ARCHIVE_BUCKETS": "events"} | wrong,
            AWS_ACCESS_KEY_ID="AKIAEXAMPLE",
            AWS_SECRET_ACCESS_KEY=SECRET,
            AWS_SESSION_TOKEN=SESSION,
        )

    shown = "".join(traceback.format_exception(refusal.value)) + repr(refusal.value)
    assert variable in shown
    assert SECRET not in shown
    assert SESSION not in shown


def test_an_endpoint_with_a_password_is_not_shown_when_it_is_refused():
    with pytest.raises(SettingError) as refusal:
        read(ARCHIVE_BUCKETS="events", AWS_ENDPOINT_URL=f"ftp://user:{SECRET}@example.com")

    assert SECRET not in str(refusal.value) + repr(refusal.value)


def read(**environ):
    return from_environment(environ)


# --- in Lambda


def test_the_environment_of_lambda_is_read_once():
    environ = LambdaEnviron({"ARCHIVE_BUCKETS": "events"})
    settings = from_environment(environ)
    environ["ARCHIVE_BUCKETS"] = "team"  # as nobody can in Lambda

    assert from_environment(environ) is settings


def test_each_environment_of_lambda_is_read_for_itself():
    first, second = (LambdaEnviron({"ARCHIVE_BUCKETS": name}) for name in ("events", "team"))

    assert from_environment(first) != from_environment(second)


def test_a_wrong_setting_is_wrong_for_each_delivery_in_lambda():
    environ = LambdaEnviron({})

    for _ in range(2):
        with pytest.raises(SettingError, match="ARCHIVE_BUCKETS is not set"):
            from_environment(environ)
