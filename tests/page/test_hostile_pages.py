"""What lies in an archive is text on every page: nothing of it is markup, link or script."""

from html.parser import HTMLParser

import pytest
from support.archives import archive_of, moment, put
from support.browsing import Get, getter, site_of
from support.hostile import CORPUS, fill_with_hostile, long_line

from hookshelf.page.site import wsgi_app

ARRIVED = moment("2026-05-03T12:00")
MOST = 256 * 1024  # bytes of a page
# What our templates write; an archive writes nothing.
SCRIPTS = {"/static/page.js"}
FETCHED = {"/static/page.css", "/static/icon.svg"}


class Markup(HTMLParser):
    """What a browser would make of a page that might run, fetch or lead elsewhere."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.dangers: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        if tag in {"iframe", "object", "embed", "base", "style", "img", "link", "script"}:
            source = given.get("src") or given.get("href") or ""
            if source.partition("?")[0] not in SCRIPTS | FETCHED:
                self.dangers.append(f"<{tag} {given}>")
        for name, value in given.items():
            leads = name in {"href", "src", "action", "formaction", "xlink:href"}
            if name.startswith("on") or name == "style" or (leads and value[:1] not in "/#"):
                self.dangers.append(f"{name}={value}")
            if leads and value.startswith("//"):
                self.dangers.append(f"{name}={value}")


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, str], list[str]]:
    folder = str(tmp_path_factory.mktemp("hostile"))
    environ = {"ARCHIVE_FOLDER": folder, "ARCHIVE_BUCKETS": "events"}
    return environ, fill_with_hostile(environ, ARRIVED)


def test_a_body_of_four_megabytes_is_shown_in_parts(folder_environ: dict[str, str]) -> None:
    obj = long_line(ARRIVED)
    put(folder_environ, obj)
    site = site_of(folder_environ)
    get = getter(wsgi_app(site).test_client(), site)
    path, query = f"/d/{obj.key[-69:-5]}", {"key": obj.key}

    for shape in ("pretty", "raw"):
        for part in ("1", "2", "9"):
            page = get(path, query_string=query | {"body": shape, "part": part})
            assert len(page.data) < MOST
            assert Markup(page.text).dangers == []
    assert len(get("/p?q=long@example.com").data) < MOST
    assert get(f"{path}/body", query_string=query).data == obj.body


@pytest.fixture
def get(hostile: tuple[dict[str, str], list[str]]) -> Get:
    site = site_of(hostile[0])
    return getter(wsgi_app(site).test_client(), site)


def pages(keys: list[str]) -> list[tuple[str, dict[str, str]]]:
    """Every page there is about them, as a path and its query."""
    found = [("/", {}), ("/live", {}), ("/refused", {}), ("/p", {"q": "long@example.com"})]
    found += [("/p", {"q": text[:1000]}) for text in CORPUS.values()]
    found += [("/p", {"q": "x", name: "<script>"}) for name in ("type", "app", "tz", "since")]
    found += [(f"/d/{key[-69:-5]}", {"key": key}) for key in keys if key.endswith("json")]
    found += [(f"/d/{key[-69:-5]}", {"key": key, "body": "raw"}) for key in keys[:6]]
    return [*found, ("/<script>", {}), ("/d/<script>", {}), ("/p", {"<script>": "1"})]


def test_nothing_that_was_sent_becomes_markup(
    get: Get, hostile: tuple[dict[str, str], list[str]]
) -> None:
    statuses = set()
    for path, query in pages(hostile[1]):
        encoded = {name: value.encode("utf-8", "replace") for name, value in query.items()}
        response = get(path, query_string=encoded)
        statuses.add(response.status_code)

        assert Markup(response.text).dangers == [], (path, query)
        assert len(response.data) <= MOST, (path, query, len(response.data))
        obeyed = {char for char in response.text if not char.isprintable()} - {"\n"}
        assert not obeyed, (path, query, obeyed)
    assert statuses == {200, 400, 404}


def test_a_body_is_shown_as_it_is(get: Get, hostile: tuple[dict[str, str], list[str]]) -> None:
    key = hostile[1][0]
    shown = get(f"/d/{key[-69:-5]}", query_string={"key": key, "body": "raw"}).text
    [body] = [event for event in archive_of(hostile[0], ARRIVED).deliveries(whole=True)
              if event.key == key]  # fmt: skip

    assert "&lt;script&gt;window.owned=1&lt;/script&gt;" in shown
    assert get(f"/d/{key[-69:-5]}/body", query_string={"key": key}).data == body.body


def test_a_row_of_a_spreadsheet_is_no_formula(get: Get) -> None:
    for path in ("/p.csv", "/refused.csv"):
        query = {"q": CORPUS["formula"]} if path == "/p.csv" else {}
        text = get(path, query_string=query).text

        assert "\n=" not in text
        assert ",=" not in text
