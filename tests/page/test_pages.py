"""`hookshelf browse`: what its pages show, and whom they show it to."""

import csv
import json
import re
from collections.abc import Iterator
from datetime import UTC, timedelta
from hashlib import sha256
from io import StringIO

import pytest
from click.testing import CliRunner
from flask.testing import FlaskClient
from support.archives import Objects, archive_of, delivered, moment, put, traffic
from support.browsing import BOUNCED, DROPPED, HERE, JANE, NOW, PORT, Get, fill, getter, site_of
from werkzeug.test import TestResponse

from chalicelib.keys import RejectedKey
from hookshelf import Archive
from hookshelf.__main__ import main
from hookshelf.page.access import LAUNCH, Access
from hookshelf.page.site import Site, wsgi_app


@pytest.fixture(scope="module")
def environ(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """An archive that no test here changes."""
    folder = str(tmp_path_factory.mktemp("archive"))
    environ = {"ARCHIVE_FOLDER": folder, "ARCHIVE_BUCKETS": "events"}
    fill(environ)
    return environ


@pytest.fixture(scope="module")
def site(environ: dict[str, str]) -> Iterator[Site]:
    site = site_of(environ)
    yield site
    site.figures.close()


@pytest.fixture
def stranger(site: Site) -> FlaskClient:
    """A browser without the cookie."""
    return wsgi_app(site).test_client()


@pytest.fixture
def get(stranger: FlaskClient, site: Site) -> Get:
    return getter(stranger, site)


def text_of(response: TestResponse) -> str:
    assert response.status_code == 200, response.text
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", response.text))


# --- who may look


def test_the_printed_address_gives_the_cookie_and_leaves_the_token_behind(
    stranger: FlaskClient, site: Site
) -> None:
    response = stranger.get(f"{LAUNCH}?token={site.access.token}", base_url=HERE)
    cookie = response.headers["Set-Cookie"]

    assert (response.status_code, response.headers["Location"]) == (303, "/")
    assert "HttpOnly" in cookie
    assert "SameSite=Strict" in cookie
    assert site.access.token not in cookie


@pytest.mark.parametrize("path", ["/", "/p?q=x", "/d/00", "/live", "/live/events", "/refused.csv"])
@pytest.mark.parametrize("cookie", ["", "hookshelf-8484=", "hookshelf-8484=wrong"])
def test_without_the_cookie_there_is_nothing(stranger: FlaskClient, path: str, cookie: str) -> None:
    response = stranger.get(path, base_url=HERE, headers={"Cookie": cookie})

    assert response.status_code == 403
    assert "browse" in response.text


@pytest.mark.parametrize("token", ["", "?token=", "?token=wrong", "?token=%ff"])
def test_a_wrong_token_opens_nothing(stranger: FlaskClient, token: str) -> None:
    response = stranger.get(f"{LAUNCH}{token}", base_url=HERE)

    assert response.status_code == 403
    assert "Set-Cookie" not in response.headers


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:8484", "127.0.0.1:1", "127.0.0.1", ""]
)
def test_a_host_that_is_not_ours_is_refused_as_names_can_be_rebound(get: Get, host: str) -> None:
    assert get("/", headers={"Host": host}).status_code == 403


@pytest.mark.parametrize("path", ["/", "/live/events", "/%6cive/events", "/static/page.js"])
@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "http://evil.example"},
        {"Origin": "null"},
        {"Origin": "http://127.0.0.1:3000"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},  # another port of this machine, which has our cookie
    ],
)
def test_another_sites_page_is_refused_even_with_the_cookie(
    get: Get, path: str, headers: dict[str, str]
) -> None:
    assert get(path, headers=headers).status_code == 403


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "OPTIONS", "HEAD"])
@pytest.mark.parametrize("path", ["/", LAUNCH, "/p", "/nothing", "/static/page.js"])
def test_nothing_but_get_is_allowed(
    get: Get, stranger: FlaskClient, method: str, path: str
) -> None:
    response = stranger.open(path, method=method, base_url=HERE)

    assert (response.status_code, response.headers["Allow"]) == (405, "GET")


@pytest.mark.parametrize(
    "path", ["/", "/p?q=jane%40example.com", "/nothing", "/static/page.js", LAUNCH]
)
def test_every_response_says_that_it_runs_no_script_but_ours(get: Get, path: str) -> None:
    headers = get(path).headers
    policy = headers["Content-Security-Policy"]

    assert policy.startswith("default-src 'none'")
    assert "unsafe" not in policy
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["Referrer-Policy"] == "no-referrer"
    assert headers["Cache-Control"] == "no-store"
    assert "Access-Control-Allow-Origin" not in headers


@pytest.mark.parametrize("path", ["/", "/p?q=jane%40example.com", "/refused", "/live"])
def test_no_page_has_a_token_or_the_cookies_value(get: Get, site: Site, path: str) -> None:
    text = get(path).text

    assert site.access.token not in text
    assert site.access.session not in text


@pytest.mark.parametrize("host", ["0.0.0.0", "192.0.2.1", "::", "example.com"])
def test_other_hosts_are_served_only_where_that_is_meant(
    host: str, environ: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    done = CliRunner().invoke(main, ["browse", "--no-open", "--host", host])

    assert done.exit_code == 2
    assert "--i-know" in done.stderr


# --- what they show


def test_the_overview_counts_what_count_does(get: Get, environ: dict[str, str]) -> None:
    rows = get("/.json").json

    assert rows == archive_of(environ, NOW).count(["day", "type"]).rows
    text = text_of(get("/"))
    assert f"{sum(row['events'] for row in rows):,}, at most" in text
    assert "events/sendgrid" in text
    assert "Invalid signature" in text


def test_a_person_begins_with_what_became_of_the_last_message(get: Get) -> None:
    response = get("/p?q=jane%40example.com")
    text = text_of(response)

    assert "Not delivered: dropped 3 May because of the bounce on 28 April" in text
    assert "2 events" in text
    assert "×2" in text
    assert "arrived 2 hours later" in text
    links = re.findall(r'<a href="(/d/[0-9a-f]{64}\?key=[^"]+)">(?:dropped|because)', response.text)
    assert [f"{JANE[2].key}", f"{JANE[0].key}"] == [
        link.partition("key=")[2].replace("%2F", "/").replace("%3D", "=") for link in links
    ]


@pytest.mark.parametrize("people", [6, pytest.param(60, marks=pytest.mark.slow)])
def test_a_page_and_find_give_the_same_events(folder_environ: dict[str, str], people: int) -> None:
    put(folder_environ, *traffic(7, moment("2026-05-01"), 8, count=4 * people, people=people))
    list(archive_of(folder_environ, NOW).compact(until="2026-05-06"))
    archive, site = archive_of(folder_environ, NOW), site_of(folder_environ)
    get = getter(wsgi_app(site).test_client(), site)
    subjects = {event.subject for event in archive.find()}

    assert len(subjects) > people * 0.8
    for subject in subjects:
        events = [event.as_json() for event in archive.find(subject)]
        rows = get("/p.json", query_string={"q": subject}).json
        assert [row["id"] for row in rows] == [event["id"] for event in events]
        assert [row["data"] for row in rows] == [json.loads(event["data"]) for event in events]
        assert f'data-total="{len(events)}"' in get("/p", query_string={"q": subject}).text


def test_the_same_rows_are_there_for_other_programs(get: Get) -> None:
    rows = get("/p.json?q=jane%40example.com").json
    lines = get("/p.ndjson?q=jane%40example.com").text.splitlines()
    cells = list(csv.reader(StringIO(get("/p.csv?q=jane%40example.com").text.lstrip("\ufeff"))))

    assert [json.loads(line) for line in lines] == rows
    assert [line[0] for line in cells[1:]] == [row["id"] for row in rows]
    assert "9007199254740993" in lines[0]


@pytest.mark.parametrize("text", ["bounce-1", "receipt", JANE[0].key[-69:-5]])
def test_the_one_search_box_takes_an_event_a_message_and_a_hash(get: Get, text: str) -> None:
    assert "550 5.1.1 no such user" in text_of(
        get("/p", query_string={"q": text}, follow_redirects=True)
    )


def test_many_events_come_in_pages_of_which_none_is_large(folder_environ: dict[str, str]) -> None:
    events = [
        BOUNCED | {"sg_event_id": f"e{n}", "timestamp": 1_777_000_000 + n} for n in range(120)
    ]
    put(folder_environ, delivered(events, NOW - timedelta(days=1)))
    site = site_of(folder_environ)
    get = getter(wsgi_app(site).test_client(), site)
    pages = [get(f"/p?q=jane%40example.com&page={number}").text for number in (1, 2, 3)]
    rows = [re.findall(r'<tr id="r(\d+)">', page) for page in pages]

    assert [int(number) for some in rows for number in some] == [*range(1, 121)]
    assert [max(map(len, pages)) < 256 * 1024, 'class="more"' in pages[2]] == [True, False]
    assert "51 to 100 of 120" in pages[1]


def test_the_beginning_of_a_hash_leads_to_its_delivery(get: Get) -> None:
    digest = JANE[2].key[-69:-5]
    response = get(f"/p?q={digest[:10]}&tz=Europe/Berlin")

    assert response.status_code == 302
    assert response.headers["Location"].startswith(f"/d/{digest}?")
    assert "tz=Europe%2FBerlin" in response.headers["Location"]


def test_an_empty_timeline_says_what_excludes_and_what_is_covered(get: Get) -> None:
    text = text_of(get("/p?q=jane%40example.com&type=click"))

    assert "2 without type click" in text
    assert "deliveries that arrived from 2026-04-28" in text
    assert "Nor is there" not in text
    assert "1 refused delivery is not among them" in text


def test_an_empty_timeline_says_where_no_filter_is_the_reason(get: Get) -> None:
    text = text_of(get("/p?q=nobody%40example.com&type=click&since=2026-05-01"))

    assert "Nor is there anything without type or since." in text


def test_a_delivery_shows_headers_events_and_body_with_every_digit(get: Get) -> None:
    digest = JANE[0].key[-69:-5]
    text = text_of(get(f"/d/{digest}?key={JANE[0].key}"))

    assert "9007199254740993" in text
    assert "SendGrid Event API" in text
    assert "verified" in text
    assert "the same bytes" in text  # it was sent again
    assert f"hookshelf prove --out={digest[:8]}.zip {JANE[0].key}" in text


def test_a_delivery_says_which_entry_of_the_manifest_log_names_it(
    folder_environ: dict[str, str],
) -> None:
    put(folder_environ, *JANE)
    site = site_of(folder_environ)
    get = getter(wsgi_app(site).test_client(), site)
    path = f"/d/{JANE[0].key[-69:-5]}?key={JANE[0].key}&log=yes"
    before = text_of(get(path))
    list(archive_of(folder_environ, moment("2026-06-02")).compact())

    assert "the log does not tell about its day yet" in before
    assert "is in entry 1, day of 2026-06-02" in text_of(get(path))


@pytest.mark.parametrize("state", ["raw", "compacted"])
def test_the_exact_body_is_a_download_that_no_browser_runs(
    folder_environ: dict[str, str], state: str
) -> None:
    put(folder_environ, *JANE)
    if state == "compacted":
        list(archive_of(folder_environ, moment("2026-06-02")).compact())
        Objects(folder_environ).delete_deliveries()
    site = site_of(folder_environ)
    get = getter(wsgi_app(site).test_client(), site)
    digest = JANE[0].key[-69:-5]
    response = get(f"/d/{digest}/body")

    assert response.data == JANE[0].body
    assert response.headers["Content-Type"] == "text/plain; charset=utf-8"
    assert response.headers["Content-Disposition"] == f'attachment; filename="{digest}.json"'


def test_what_was_refused_is_shown_with_the_reason_and_what_to_do(get: Get) -> None:
    text = text_of(get("/refused"))

    assert "1 × Invalid signature" in text
    assert "APPS_FILE" in text
    assert "hookshelf readmit" in text
    assert get("/refused.json").json[0]["app"] == "payments"


def test_of_what_was_refused_the_exact_body_is_a_download(get: Get) -> None:
    page = get("/refused").text
    link = re.search(r'href="(/refused/body[^"]+)"', page)
    assert link
    response = get(link[1].replace("&amp;", "&"))
    digest = sha256(b'{"a":1').hexdigest()

    assert response.data == b'{"a":1'
    assert response.headers["Content-Type"] == "text/plain; charset=utf-8"
    assert response.headers["Content-Disposition"] == f'attachment; filename="{digest}.bin"'


@pytest.mark.parametrize(
    "key",
    [
        "",
        "../../etc/passwd",
        JANE[0].key,
        str(RejectedKey("", "payments", NOW.date(), "0" * 64)),
        str(RejectedKey("elsewhere/", "payments", NOW.date(), "0" * 64)),
    ],
)
def test_nothing_but_what_was_refused_is_to_be_had_there(get: Get, key: str) -> None:
    assert get("/refused/body", query_string={"key": key}).status_code == 404


@pytest.mark.parametrize("path", ["/live", "/refused", f"/d/{JANE[0].key[-69:-5]}", "/"])
def test_every_view_exports_the_rows_that_it_counts(get: Get, path: str) -> None:
    rows = get(f"{path}.json").json
    lines = get(f"{path}.ndjson").text.splitlines()
    cells = list(csv.reader(StringIO(get(f"{path}.csv").text)))
    page = get(path).text
    shown = {
        "/live": page.count("<tr data-key="),
        "/refused": page.count('<td class="begins"'),
        "/": sum(map(int, re.findall(r"type: (\d+), at most", page))),
    }.get(path, page.count('<td class="what">'))

    assert [json.loads(line) for line in lines] == rows
    assert len(cells) == len(rows) + 1
    assert shown == (sum(row["events"] for row in rows) if path == "/" else len(rows))


def test_live_begins_with_what_came_last_and_goes_on(folder_environ: dict[str, str]) -> None:
    put(folder_environ, *JANE)
    site = site_of(folder_environ)
    get = getter(wsgi_app(site).test_client(), site)
    page = get("/live").text
    after = re.search(r'data-events="(/live/events[^"]+)"', page)
    assert after
    response = get(after[1].replace("&amp;", "&"), buffered=False)
    stream = response.response
    late = delivered([DROPPED | {"sg_event_id": "dropped-2"}], NOW - timedelta(seconds=1))
    assert next(stream) == b"retry: 1000\n\n"
    put(folder_environ, late)
    lines = (line for line in stream if line.startswith(b"id: "))
    events = (json.loads(line.partition(b"data: ")[2]) for line in lines)
    event = next(event for event in events if event["key"] == late.key)
    response.close()

    assert "dropped, SendGrid did not try" in event["words"][0]


@pytest.mark.parametrize(
    "query",
    [
        "since=yesterday",
        "until=2026-13-01",
        "sinse=7d",
        "app=../x",
        "tz=Nowhere",
        "page=0",
        "since=7d&since=8d",
        "page=x",
    ],  # fmt: skip
)
@pytest.mark.parametrize("path", ["/p?q=jane%40example.com&", "/p.json?q=jane%40example.com&"])
def test_what_is_not_understood_is_refused_and_selects_nothing(
    get: Get, path: str, query: str
) -> None:
    response = get(path + query)

    assert response.status_code == 400
    assert "bounce" not in response.text


def test_what_is_not_there_is_404(get: Get) -> None:
    for path in ("/nothing", f"/d/{'0' * 64}", "/p?q=x&app=none"):
        assert get(path).status_code == 404, path


def test_an_archive_without_anything_says_so(folder_environ: dict[str, str]) -> None:
    archive = Archive(environ=folder_environ)
    site = Site(archive, Access.of({"127.0.0.1"}, PORT), "x", UTC, lambda *words: "")
    client = wsgi_app(site).test_client()
    client.get(f"{LAUNCH}?token={site.access.token}", base_url=HERE)

    for path in ("/", "/p?q=x", "/refused", "/live"):
        assert client.get(path, base_url=HERE).status_code == 200, path


def test_times_are_shown_in_the_zone_that_is_asked_for(get: Get) -> None:
    assert "2026-05-03 14:00:00 +02:00" in text_of(get("/p?q=jane%40example.com&tz=Europe/Berlin"))
    assert "2026-05-03 12:00:00 UTC" in text_of(get("/p?q=jane%40example.com"))


def test_links_keep_the_range(get: Get) -> None:
    page = get("/p?q=jane%40example.com&since=30d&tz=UTC").text
    links = re.findall(r'href="(/[pd][^"]*)"', page.partition("<main")[2].partition("</main")[0])

    assert links
    assert [link for link in links if "since=30d" not in link] == []
