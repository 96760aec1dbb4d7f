"""The key grammar, version 1: what is written can be read back, and nothing else can."""

import posixpath
import re
from datetime import UTC, date, datetime
from string import ascii_letters, digits

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from support.loops import for_each

from chalicelib.keys import (
    DAY_LEVELS,
    EVENTS_FOLDER,
    EXTENSIONS,
    MANIFESTS_FOLDER,
    DeliveryKey,
    EventsKey,
    ManifestKey,
    RejectedKey,
    UnknownKey,
    app_in,
    app_prefix,
    arrival_in,
    by_arrival,
    conditions_key,
    day_folder,
    day_in,
    day_of,
    day_prefix,
    digest_in,
    events_prefix,
    hour_folder,
    hour_prefix,
    is_app,
    is_of_days,
    is_path,
    is_reserved,
    manifest_prefix,
    month_prefix,
    months_in,
    parse_events,
    parse_key,
    parse_manifest,
    parse_redacted,
    past_deliveries,
    past_rejected,
    redacted_key,
    rejected_prefix,
    seek,
    stamp,
)

DIGEST = "44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a"
ARRIVED = datetime(2026, 11, 20, 23, 50, 1, 123456, tzinfo=UTC)

# Version 1, for ever: a change that breaks one of these lines orphans every existing archive.
DELIVERIES = {
    f"shop/dt=2026-11-20/hh=23/20261120T235001.123456Z-{DIGEST}.json": DeliveryKey(
        "", "shop", ARRIVED, DIGEST, "json"
    ),
    f"events/in/Shop-2_eu/dt=2026-01-02/hh=00/20260102T000000.000000Z-{DIGEST}.form": DeliveryKey(
        "events/in/", "Shop-2_eu", datetime(2026, 1, 2, tzinfo=UTC), DIGEST, "form"
    ),
    f"a/b/c/d/e/f/g/h.v2/x/dt=0001-01-01/hh=00/00010101T000000.000001Z-{DIGEST}.bin": DeliveryKey(
        "a/b/c/d/e/f/g/h.v2/", "x", datetime(1, 1, 1, microsecond=1, tzinfo=UTC), DIGEST, "bin"
    ),
    f"p/0/dt=9999-12-31/hh=23/99991231T235959.999999Z-{'0' * 64}.xml": DeliveryKey(
        "p/", "0", datetime.max.replace(tzinfo=UTC), "0" * 64, "xml"
    ),
    f"soap/dt=2024-02-29/hh=12/20240229T123456.000789Z-{'f' * 64}.txt": DeliveryKey(
        "", "soap", datetime(2024, 2, 29, 12, 34, 56, 789, tzinfo=UTC), "f" * 64, "txt"
    ),
}
REJECTED = {
    f"_rejected/shop/dt=2026-11-20/{DIGEST}-0123456789ab.bin": RejectedKey(
        "", "shop", date(2026, 11, 20), DIGEST, "0123456789ab"
    ),
    f"_rejected/shop/dt=2026-11-20/{DIGEST}.bin": RejectedKey(  # from before there were more
        "", "shop", date(2026, 11, 20), DIGEST
    ),
    f"events/in/_rejected/Shop-2_eu/dt=0001-01-01/{DIGEST}.bin": RejectedKey(
        "events/in/", "Shop-2_eu", date(1, 1, 1), DIGEST
    ),
}
COMPACTED = {
    "layer=events/app=shop/month=2026-11/2026-11-20T14.parquet": EventsKey(
        "", "shop", datetime(2026, 11, 20, 14, tzinfo=UTC), "hour"
    ),
    "events/in/layer=events/app=Shop-2_eu/month=2026-11/2026-11-20.parquet": EventsKey(
        "events/in/", "Shop-2_eu", datetime(2026, 11, 20, tzinfo=UTC), "day"
    ),
    "layer=events/app=shop/month=2026-02/2026-02.parquet": EventsKey(
        "", "shop", datetime(2026, 2, 1, tzinfo=UTC), "month"
    ),
}
MANIFESTS = {
    "_manifests/shop/00000001.json": ManifestKey("", "shop", 1),
    "events/in/_manifests/Shop-2_eu/12345678.json": ManifestKey(
        "events/in/", "Shop-2_eu", 12_345_678
    ),
}
VERSION_1 = DELIVERIES | REJECTED

GOOD = f"shop/dt=2026-11-20/hh=23/20261120T235001.123456Z-{DIGEST}.json"
OTHER_SHAPES = {
    "nothing": "",
    "a word": "shop",
    "a stray object": "shop/readme.txt",
    "its metadata": GOOD + ".meta",
    "a newline behind": GOOD + "\n",
    "a newline before": "\n" + GOOD,
    "a NUL behind": GOOD + "\0",
    "a slash before": "/" + GOOD,
    "an empty segment": "events//" + GOOD,
    "a climbing segment": "events/../" + GOOD,
    "a dot segment": "./" + GOOD,
    "nine segments": "a/b/c/d/e/f/g/h/i/" + GOOD,
    "a day in Arabic digits": GOOD.replace("20261120T", "٢٠٢٦1120T"),
    "a segment of 64 characters": "a" * 64 + "/" + GOOD,
    "a hidden segment": ".events/" + GOOD,
    "a segment that is ours": "_events/" + GOOD,
    "an app that is ours": "_" + GOOD,
    "no app": GOOD.removeprefix("shop"),
    "an app of 51 characters": GOOD.replace("shop", "s" * 51),
    "two dashes in the app": GOOD.replace("shop", "sh--op"),
    "full-width letters": GOOD.replace("shop", "ｓｈｏｐ"),
    "Arabic digits": GOOD.replace("dt=2026", "dt=٢٠٢٦"),
    "month 13": GOOD.replace("2026-11", "2026-13").replace("202611", "202613"),
    "the 31st of November": GOOD.replace("11-20", "11-31").replace("1120T", "1131T"),
    "no leap year": GOOD.replace("2026-11-20", "2026-02-29").replace("20261120", "20260229"),
    "year 0": GOOD.replace("2026-", "0000-").replace("20261120", "00001120"),
    "hour 24": GOOD.replace("hh=23", "hh=24").replace("T23", "T24"),
    "a leap second": GOOD.replace("235001", "235960"),
    "an hour beside the stamp's": GOOD.replace("hh=23", "hh=22"),
    "a day beside the stamp's": GOOD.replace("dt=2026-11-20", "dt=2026-11-21"),
    "an hour of one digit": GOOD.replace("hh=23", "hh=3").replace("T23", "T03"),
    "milliseconds": GOOD.replace(".123456Z", ".123Z"),
    "no Z": GOOD.replace("Z-", "-"),
    "an offset": GOOD.replace("Z-", "+00:00-"),
    "upper-case hexadecimals": GOOD.replace(DIGEST, DIGEST.upper()),
    "a short digest": GOOD.replace(DIGEST, DIGEST[:-1]),
    "a long digest": GOOD.replace(DIGEST, DIGEST + "0"),
    "no digest": GOOD.replace(DIGEST, ""),
    "an unknown extension": GOOD.replace(".json", ".yaml"),
    "an upper-case extension": GOOD.replace(".json", ".JSON"),
    "two extensions": GOOD.replace(".json", ".json.json"),
    "no extension": GOOD.removesuffix(".json"),
    "an event file": "_events/shop/dt=2026-11-20/events.parquet",
    "a month of events": "_events_month/shop/2026-11.parquet",
    "a redacted delivery": f"_redacted/shop/dt=2026-11-20/20261120T235001.123456Z-{DIGEST}.json",
    "a rejected delivery": "_rejected/" + GOOD,
    "a rejected body that says JSON": f"_rejected/shop/dt=2026-11-20/{DIGEST}.json",
    "a rejected body with an hour": f"_rejected/shop/dt=2026-11-20/hh=23/{DIGEST}.bin",
    "a rejected body of month 13": f"_rejected/shop/dt=2026-13-20/{DIGEST}.bin",
    "a rejected body of no app": f"_rejected/dt=2026-11-20/{DIGEST}.bin",
    "a rejected body, upper-case": f"_rejected/shop/dt=2026-11-20/{DIGEST.upper()}.bin",
    "a rejected body and a newline": f"_rejected/shop/dt=2026-11-20/{DIGEST}.bin\n",
}

words = st.text(ascii_letters + digits, min_size=1, max_size=11)
apps = st.builds(str.join, st.sampled_from("-_"), st.lists(words, min_size=1, max_size=4))
segments = st.builds(str.__add__, words, st.text(ascii_letters + digits + "._-", max_size=52))
paths = st.lists(segments, min_size=1, max_size=8).map("/".join)
prefixes = st.just("") | paths.map(lambda path: path + "/")
moments = st.datetimes(timezones=st.just(UTC))  # from year 1 to 9999
hashes = st.binary(min_size=32, max_size=32).map(bytes.hex)
extensions = st.sampled_from(EXTENSIONS)
deliveries = st.builds(DeliveryKey, prefixes, apps, moments, hashes, extensions)
signature_hashes = st.just("") | st.text("0123456789abcdef", min_size=12, max_size=12)
rejected = st.builds(RejectedKey, prefixes, apps, st.dates(), hashes, signature_hashes)

# Well-formed names, the same with something wedged in, and text of what does harm in paths.
_junk = st.text(
    st.sampled_from("aZ0-_./\\%= \n\0\x1b\u202eａé\ud800") | st.characters(), max_size=4
)
hostile = (
    apps
    | paths
    | st.tuples(apps | paths, _junk, apps | paths).map("".join)
    | st.tuples(_junk, apps | paths, _junk).map("".join)
    | st.text(st.characters())
)


@pytest.mark.parametrize(("key", "meaning"), VERSION_1.items())
def test_version_1_is_written_like_this_for_ever(key, meaning):
    assert str(meaning) == key


@pytest.mark.parametrize(("key", "meaning"), VERSION_1.items())
def test_version_1_is_read_like_this_for_ever(key, meaning):
    assert parse_key(key) == meaning


@pytest.mark.parametrize(("key", "meaning"), (COMPACTED | MANIFESTS).items())
def test_compacted_files_and_the_manifest_log_are_written_like_this_for_ever(key, meaning):
    parse = parse_events if isinstance(meaning, EventsKey) else parse_manifest

    assert str(meaning) == key
    assert parse(key) == meaning


@pytest.mark.parametrize("prefix", ["", "events/in/"])
def test_what_an_erasure_left_lies_by_the_name_of_its_delivery_for_ever(prefix):
    key = DeliveryKey(prefix, "shop", datetime(2026, 11, 20, 23, 50, 1, tzinfo=UTC), DIGEST, "json")
    name = f"{prefix}_redacted/shop/dt=2026-11-20/hh=23/20261120T235001.000000Z-{DIGEST}.json"

    assert redacted_key(key) == name
    assert parse_redacted(name) == key
    for other in (
        str(key),
        f"_redacted/{prefix}x/{name}",
        f"../{name}",
        name.replace("hh=23", "hh=22"),
    ):
        with pytest.raises(UnknownKey, match=rf"{DIGEST}.json' is not a key"):
            parse_redacted(other)


def test_the_extensions_of_version_1_are_frozen_too():
    assert EXTENSIONS == ("json", "form", "xml", "txt", "bin")


@pytest.mark.parametrize(
    ("start", "span", "end"),
    [
        (datetime(2026, 12, 31, 23, tzinfo=UTC), "hour", datetime(2027, 1, 1, tzinfo=UTC)),
        (datetime(2026, 2, 28, tzinfo=UTC), "day", datetime(2026, 3, 1, tzinfo=UTC)),
        (datetime(2026, 2, 1, tzinfo=UTC), "month", datetime(2026, 3, 1, tzinfo=UTC)),
        (datetime(2026, 12, 1, tzinfo=UTC), "month", datetime(2027, 1, 1, tzinfo=UTC)),
    ],
)
def test_a_compacted_file_ends_where_the_next_one_begins(start, span, end):
    assert EventsKey("", "shop", start, span).end == end


HOUR = "layer=events/app=shop/month=2026-11/2026-11-20T14.parquet"


@pytest.mark.parametrize(
    "key",
    [
        *("", "shop", GOOD, HOUR + "\n", HOUR.replace(".parquet", ".json")),
        HOUR.replace("month=2026-11", "month=2026-12"),
        HOUR.replace("2026-11", "2026-13"),
        HOUR.replace("-20T14", "-31T14"),
        HOUR.replace("T14", "T24"),
        HOUR.replace("T14", "T14:00"),
        HOUR.replace("T14", "T١٤"),
        HOUR.replace("-20T14", "T14"),
        HOUR.replace("app=shop", "app=" + "s" * 51),
        HOUR.replace("app=shop", "app=sh--op"),
        "layer=events/app=shop/month=2026-00/2026-00.parquet",
        "a/b/c/d/e/f/g/h/i/" + HOUR,
    ],
)
def test_another_name_is_no_compacted_file(key):
    with pytest.raises(UnknownKey, match=re.escape(repr(key))):
        parse_events(key)


@pytest.mark.parametrize(
    "key",
    [
        *("", "shop", GOOD, "_manifests/shop/00000001.json\n", "_manifests/shop/00000001.parquet"),
        *("_manifests/shop/0000001.json", "_manifests/shop/000000001.json"),
        "_manifests/shop/٠٠٠٠٠٠٠١.json",
        f"_manifests/{'s' * 51}/00000001.json",
        "_manifests/sh--op/00000001.json",
        "a/b/c/d/e/f/g/h/i/_manifests/shop/00000001.json",
    ],
)
def test_another_name_is_no_entry_of_the_manifest_log(key):
    with pytest.raises(UnknownKey, match=re.escape(repr(key))):
        parse_manifest(key)


@for_each("key", OTHER_SHAPES)
def test_another_shape_is_refused_by_name(key):
    with pytest.raises(UnknownKey) as refusal:
        parse_key(key)

    assert repr(key) in str(refusal.value)


@given(deliveries)
def test_a_delivery_key_reads_back_as_it_was_written(key):
    assert parse_key(str(key)) == key


@given(rejected)
def test_a_rejected_key_reads_back_as_it_was_written(key):
    assert parse_key(str(key)) == key


@pytest.mark.parametrize("extension", EXTENSIONS)
def test_every_extension_reads_back(extension):
    key = DeliveryKey("", "shop", ARRIVED, DIGEST, extension)

    assert parse_key(str(key)) == key


@given(st.text(st.characters()) | deliveries.map(str) | rejected.map(str), _junk)
def test_what_can_be_read_would_be_written_the_same(key, junk):
    for text in (key, key + junk, junk + key):
        try:
            meaning = parse_key(text)
        except UnknownKey:
            continue

        assert str(meaning) == text


@given(prefixes, hostile, moments)
def test_exactly_the_names_of_apps_read_back_as_apps(prefix, name, moment):
    key = str(DeliveryKey(prefix, name, moment, DIGEST, "json"))

    assert _reads_as(key, prefix, name) == is_app(name)


@given(hostile, apps)
def test_exactly_paths_read_back_as_prefixes(path, app):
    key = str(DeliveryKey(path + "/", app, ARRIVED, DIGEST, "json"))

    assert _reads_as(key, path + "/", app) == is_path(path)


@given(prefixes, hostile, moments)
def test_no_app_leaves_its_prefix(prefix, name, moment):
    assume(is_app(name))

    for key in (
        str(DeliveryKey(prefix, name, moment, DIGEST, "json")),
        str(RejectedKey(prefix, name, moment.date(), DIGEST)),
    ):
        assert key.startswith((app_prefix(prefix, name), rejected_prefix(prefix, name)))
        assert posixpath.normpath(key) == key
        assert key.isascii()
        assert key.isprintable()
        assert len(key) <= 1024  # S3's limit


@given(hostile)
def test_no_path_climbs_out_of_its_bucket(path):
    assume(is_path(path))

    assert posixpath.normpath(path) == path
    assert not path.startswith(("/", ".", "_"))
    assert not {".", ".."} & set(path.split("/"))


@given(deliveries, deliveries)
def test_the_keys_of_an_app_sort_by_arrival(one, other):
    assume(one.arrived != other.arrived)
    other = other._replace(prefix=one.prefix, app=one.app)
    earlier, later = sorted((one, other), key=lambda key: key.arrived)

    assert str(earlier) < str(later)


@given(deliveries)
def test_a_delivery_lies_below_its_app_and_its_hour(key):
    hour = hour_prefix(key.prefix, key.app, key.arrived)

    assert hour.startswith(app_prefix(key.prefix, key.app))
    assert str(key).startswith(hour)


@given(deliveries)
def test_the_day_of_a_delivery_is_read_from_its_folders_and_from_its_key(key):
    day = key.arrived.date()
    folders = str(key).removeprefix(app_prefix(key.prefix, key.app)).split("/")[:DAY_LEVELS]

    assert day_in("/".join(folders)) == day_of(str(key)) == day
    assert is_of_days(folders[0])
    assert str(key).startswith(day_prefix(key.prefix, key.app, day))


@given(deliveries)
def test_the_arrival_and_the_hash_of_a_body_are_read_from_its_key(key):
    assert arrival_in(str(key)) == key.arrived
    assert arrival_in(str(key)).tzinfo is UTC
    assert digest_in(str(key)) == key.sha256


@given(deliveries, deliveries)
def test_deliveries_of_whatever_apps_are_sorted_by_arrival(one, other):
    assume(one.arrived != other.arrived)
    earlier, later = sorted((one, other), key=lambda key: key.arrived)

    assert by_arrival(str(earlier)) < by_arrival(str(later))


@given(deliveries)
def test_what_is_past_the_deliveries_of_an_app_sorts_after_every_one(key):
    assert str(key) < past_deliveries(key.prefix, key.app)


@given(hostile)
def test_no_app_and_no_path_is_a_folder_of_ours(name):
    if is_app(name) or is_path(name):
        assert not is_of_days(name)
        assert not is_reserved(name)
        assert day_in(name) is app_in(name) is None


def test_folders_of_ours_are_known_by_their_names():
    assert all(map(is_reserved, [EVENTS_FOLDER, MANIFESTS_FOLDER, rejected_prefix("")[:-1]]))
    assert not is_reserved(day_folder(date.max))
    assert app_in("app=shop") == "shop"
    assert app_in("app=_shop") is app_in("shop") is None
    assert is_of_days("dt=2026-11-20")
    assert not is_of_days("shop")
    assert day_in("dt=2026-11-20") == day_of(GOOD) == date(2026, 11, 20)
    assert by_arrival(GOOD) == f"20261120T235001.123456Z-{DIGEST}.json"
    assert day_in(day_folder(date(2026, 11, 20)).replace("11", "13")) is None
    assert day_in(day_folder(date(2026, 11, 20)).replace("2026", "٢٠٢٦")) is None
    assert day_in("shop") is None


@given(rejected)
def test_a_rejected_body_lies_below_the_rejected_of_its_app_and_of_all(key):
    of_app = rejected_prefix(key.prefix, key.app)

    assert of_app.startswith(rejected_prefix(key.prefix))
    assert str(key).startswith(of_app)


def test_each_kind_of_key_lies_below_its_own_prefix():
    """What a listing asks for, to the letter."""
    at = datetime(2026, 1, 2, 3, 4, 5, 6, tzinfo=UTC)

    assert app_prefix("p/", "shop") == "p/shop/"
    assert day_prefix("p/", "shop", date(2026, 1, 2)) == "p/shop/dt=2026-01-02/"
    assert hour_prefix("p/", "shop", at) == "p/shop/dt=2026-01-02/hh=03/"
    assert rejected_prefix("p/") == "p/_rejected/"
    assert rejected_prefix("p/", "shop") == "p/_rejected/shop/"
    assert events_prefix("p/") == "p/layer=events/"
    assert events_prefix("p/", "shop") == "p/layer=events/app=shop/"
    assert month_prefix("p/", "shop", "2026-01") == "p/layer=events/app=shop/month=2026-01/"
    assert conditions_key("p/") == "p/layer=events/_conditions"
    assert manifest_prefix("p/", "shop") == "p/_manifests/shop/"


def test_the_parts_of_keys_are_written_and_read_like_this():
    at = datetime(2026, 1, 2, 3, 4, 5, 6, tzinfo=UTC)

    assert day_folder(date(2026, 1, 2)) == "dt=2026-01-02"
    assert hour_folder(at) == "dt=2026-01-02/hh=03"
    assert stamp(at) == "20260102T030405.000006Z"
    assert stamp(at.replace(microsecond=0)) == "20260102T030405.000000Z"
    assert months_in(["month=2026-01", "shop", "month=2026-02", "app=shop"]) == [
        "2026-01",
        "2026-02",
    ]
    assert months_in([]) == []


def test_a_listing_begins_right_before_what_arrived_at_a_moment():
    at = ARRIVED
    before = DeliveryKey("p/", "shop", at.replace(microsecond=123455), "f" * 64, "xml")
    then = DeliveryKey("p/", "shop", at, "0" * 64, "bin")

    assert seek("p/", "shop", at) == "p/shop/dt=2026-11-20/hh=23/20261120T235001.123456Z"
    assert str(before) < seek("p/", "shop", at) < str(then)


def test_a_listing_goes_on_behind_all_of_an_app_and_before_what_is_next_to_it():
    last = DeliveryKey("p/", "shop", datetime.max.replace(tzinfo=UTC), "f" * 64, "xml")
    refused = RejectedKey("p/", "shop", date.max, "f" * 64, "f" * 12)
    of_next_app = RejectedKey("p/", "shop2", date(2026, 1, 1), DIGEST)

    assert past_deliveries("p/", "shop") == "p/shop/dt=9999-12-31/~"
    assert past_rejected("p/", "shop") == "p/_rejected/shop/~"
    assert past_rejected("p/") == "p/_rejected/~"
    assert str(last) < past_deliveries("p/", "shop") < "p/shop/events/" < "p/shop2/"
    assert str(refused) < past_rejected("p/", "shop") < str(of_next_app) < past_rejected("p/")
    assert past_rejected("p/") < "p/a/"


@pytest.mark.parametrize(
    "name", ["a", "0", "shop", "Shop", "shop-2_eu", "soap", "a" * 50, "dt", "CON", "1-1"]
)
def test_these_may_name_an_app(name):
    assert is_app(name)


@for_each(
    "name",
    [
        *("", " ", " shop", "shop ", "shop\n", "a" * 51, ".", "..", "a.b", "a/b", "../a", "a%2Fb"),
        *("_shop", "-shop", "shop-", "shop_", "a--b", "a__b", "a-_b", "dt=1", "a\0b", "a\\b"),
        *(
            "ｓｈｏｐ",
            "café",
            "cafe\u0301",
            "\u202eshop",
            "sh\u200dop",
            "shop\ud800",
            "٣",
            "ſ",
            "\u212a",
        ),
    ],
)
def test_these_may_not_name_an_app(name):
    assert not is_app(name)


@pytest.mark.parametrize("path", ["a", "a/b", "a.b", "a..b", "A-1_x.y/0", "a/b/c/d/e/f/g/h"])
def test_these_may_stand_below_a_bucket(path):
    assert is_path(path)


@pytest.mark.parametrize(
    "path",
    [
        *(
            "",
            "/",
            "/a",
            "a/",
            "a//b",
            ".",
            "..",
            "a/..",
            "../a",
            "a/./b",
            ".a",
            "_a",
            "-a",
            "a/_b",
        ),
        *("a/b/c/d/e/f/g/h/i", "a" * 64, "a b", "a%2Fb", "a\\b", "a\n", "a/b\n", "a\0", "é", "a=b"),
    ],
)
def test_these_may_not_stand_below_a_bucket(path):
    assert not is_path(path)


def test_the_longest_path_still_fits():
    assert is_path("/".join(["a" * 63] * 8))


def _reads_as(key, prefix, app):
    try:
        meaning = parse_key(key)
    except UnknownKey:
        return False
    return (meaning.prefix, meaning.app) == (prefix, app)
