"""`hookshelf browse` in a real Chromium: what people do there, and what it must not let happen."""

import re
import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from support.archives import archive_of, delivered, put
from support.browser import SHOTS, browser, browsing, not_valid, violations
from support.hostile import CORPUS, fill_with_hostile, long_line

from chalicelib.settings import from_environment
from chalicelib.store import open_store
from hookshelf.local.demo import BUCKET, JANE, deliveries, fill

pytestmark = [
    pytest.mark.heavy,
    pytest.mark.xdist_group("browser"),
    pytest.mark.timeout(1800),  # seconds; the first fetches a browser
]

UNTIL = datetime.now(UTC).replace(microsecond=0) - timedelta(minutes=5)
LOOKS = {
    "wide": {"viewport": {"width": 1440, "height": 900}},
    "dark": {"viewport": {"width": 1440, "height": 900}, "color_scheme": "dark"},
    "narrow": {"viewport": {"width": 360, "height": 740}, "has_touch": True},
    "narrow-dark": {"viewport": {"width": 360, "height": 740}, "color_scheme": "dark"},
}
PAGES = {
    "overview": "/",
    "overview-of-days": "/?since=7d&tz=Europe%2FBerlin",
    "search": "/p",
    "person": "/p?q=jane%40example.com",
    "nobody": "/p?q=nobody%40example.com&since=7d&type=open",
    "live": "/live",
    "refused": "/refused",
    "not-understood": "/p?q=x&since=yesterday",
}


@dataclass
class Window:
    """A page of a browser that opened the printed address, and all that went wrong in it."""

    page: Any
    base: str
    wrong: list[str] = field(default_factory=list)

    def go(self, path: str) -> None:
        self.page.goto(self.base + path)


@pytest.fixture(scope="module")
def chrome() -> Iterator[Any]:
    shutil.rmtree(SHOTS, ignore_errors=True)
    SHOTS.mkdir(parents=True)
    with browser() as launched:
        yield launched


@pytest.fixture(scope="module")
def environ(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """A small demo, compacted up to yesterday."""
    folder = str(tmp_path_factory.mktemp("demo"))
    environ = {"ARCHIVE_FOLDER": folder, "ARCHIVE_BUCKETS": BUCKET, "HOOKSHELF_TRYOUT": "true"}
    fill(open_store(from_environment(environ), BUCKET), deliveries(UNTIL, events=3_000), environ)
    list(archive_of(environ, datetime.now(UTC)).compact(app="sendgrid", until="1d"))
    return environ


@pytest.fixture(scope="module")
def address(environ: dict[str, str]) -> Iterator[str]:
    with browsing(environ) as address:
        yield address


Open = Callable[..., Window]


@pytest.fixture
def opened(chrome: Any, address: str) -> Iterator[Open]:
    """Open the printed address in a new window; nothing may have gone wrong when the test ends."""
    windows: list[Window] = []

    def open_window(at: str = address, **look: Any) -> Window:
        context = chrome.new_context(**look)
        base = at.partition("/open")[0]
        window = Window(context.new_page(), base)
        watch(window)
        window.page.goto(at)
        windows.append(window)
        return window

    yield open_window
    for window in windows:
        window.page.context.close()
    assert [wrong for window in windows for wrong in window.wrong] == []


def watch(window: Window) -> None:
    """Take down what the console says, scripts that fail, dialogs, and requests elsewhere."""
    page, wrong = window.page, window.wrong

    def asked(request: Any) -> None:
        if not request.url.startswith(window.base + "/"):
            wrong.append(f"asked {request.url}")

    def dialog(dialog: Any) -> None:
        wrong.append(f"dialog {dialog.message}")
        dialog.dismiss()

    page.on("request", asked)
    page.on("dialog", dialog)
    page.on("pageerror", lambda error: wrong.append(f"error {error}"))
    # A status of 400 or 404, which some pages are to have, is said in the console too.
    page.on(
        "console",
        lambda message: (
            wrong.append(f"{message.type} {message.text}")
            if message.type in ("error", "warning")
            and "the server responded with a status of 40" not in message.text
            else None
        ),
    )


def too_wide(page: Any) -> list[str]:
    """What reaches beyond the window, apart from what scrolls by itself."""
    found: list[str] = page.evaluate(
        """() => document.documentElement.scrollWidth <= innerWidth ? [] :
            [...document.querySelectorAll("body *")]
                .filter(element => element.getBoundingClientRect().right > innerWidth + 1)
                .map(element => element.outerHTML.slice(0, 200))"""
    )
    return found


def cpu_seconds(page: Any) -> float:
    """What the process that shows a page has taken so far, whatever else runs on this machine."""
    session = page.context.new_cdp_session(page)
    session.send("Performance.enable")
    metrics = session.send("Performance.getMetrics")["metrics"]
    return float({metric["name"]: metric["value"] for metric in metrics}["ProcessTime"])


def test_the_token_leaves_the_address(opened: Open) -> None:
    window = opened()

    assert window.page.url == f"{window.base}/"


@pytest.mark.parametrize("look", LOOKS)
def test_every_page_fits_and_is_there_for_everybody(opened: Open, look: str) -> None:
    window = opened(**LOOKS[look])
    page = window.page
    page.wait_for_selector("figure.chart")
    for name, path in PAGES.items():
        window.go(path)
        if name.startswith("overview"):
            page.wait_for_selector("figure.chart")
        page.screenshot(path=SHOTS / f"{name}-{look}.png", full_page=True)

        assert too_wide(page) == [], (name, look)
        assert violations(page) == [], (name, look)
    window.go(PAGES["person"])
    page.locator("a.row").nth(2).click()
    page.wait_for_selector("pre.body")
    page.screenshot(path=SHOTS / f"delivery-{look}.png", full_page=True)

    assert too_wide(page) == []
    assert violations(page) == []


@pytest.mark.parametrize("name", ["person", "live", "refused"])
def test_on_a_phone_a_table_is_still_one_to_a_screen_reader(opened: Open, name: str) -> None:
    window = opened(**LOOKS["narrow"])
    window.go(PAGES[name])
    table = window.page.locator("table.rows")
    roles = table.evaluate("table => [table, ...table.rows].map(row => row.getAttribute('role'))")
    tree = window.page.context.new_cdp_session(window.page).send("Accessibility.getFullAXTree")
    exposed = [node["role"]["value"] for node in tree["nodes"] if not node["ignored"]]

    assert {*roles} == {"table", "row"}
    assert exposed.count("row") == len(roles) - 1
    assert exposed.count("columnheader") == table.locator("thead th").count()


def test_the_html_of_every_page_is_valid(opened: Open, tmp_path: Path) -> None:
    window = opened()
    window.page.wait_for_selector("figure.chart")
    window.go(PAGES["person"])
    link = window.page.locator("a.row").first.get_attribute("href")
    for name, path in (PAGES | {"delivery": link, "raw": f"{link}&body=raw"}).items():
        html = window.page.request.get(window.base + path).text()
        (tmp_path / f"{name}.html").write_text(html, encoding="utf-8")

    assert not_valid(sorted(tmp_path.glob("*.html"))) == []


def test_from_a_search_to_the_exact_bytes(opened: Open, environ: dict[str, str]) -> None:
    window = opened()
    page = window.page
    page.fill("#q", JANE)
    page.press("#q", "Enter")
    page.wait_for_selector(".outcome")

    assert "Not delivered: dropped" in page.inner_text(".outcome")
    page.click(".outcome a >> nth=1")
    page.wait_for_selector("pre.body")
    with page.expect_download() as download:
        page.click("text=Download the exact body")
    body = Path(download.value.path()).read_bytes()
    digest = re.search(r"/d/([0-9a-f]{64})", page.url)
    assert digest
    assert sha256(body).hexdigest() == digest[1]
    assert b"550 5.1.1" in body


def test_what_arrives_is_there_within_two_seconds(opened: Open, environ: dict[str, str]) -> None:
    window = opened()
    page = window.page
    window.go("/live")
    page.wait_for_selector("#state:text-is('Following')")
    event = {"email": "new@example.com", "event": "delivered", "timestamp": 1, "sg_event_id": "new"}
    waited = []
    for number in range(5):  # a busy machine may be late, but not each time
        obj = delivered([event | {"n": number}], datetime.now(UTC))
        put(environ, obj)
        started = time.monotonic()
        page.wait_for_selector(f"tr[data-key='{obj.key}']")
        waited.append(time.monotonic() - started)

    assert min(waited) < 2
    assert "new@example.com" in page.inner_text("#live tbody tr >> nth=0")
    page.click("#pause")
    put(environ, delivered([event | {"sg_event_id": "2"}], datetime.now(UTC)))
    page.wait_for_selector("#new:text-is('1 new')")
    page.fill("#filter", "nobody else")
    assert page.locator("#live tbody tr:visible").count() == 0
    page.fill("#filter", "new@example.com")
    page.click("#pause")
    page.wait_for_selector("#live tbody tr:not([hidden]) >> nth=5")


def test_everything_is_done_with_the_keyboard_alone(opened: Open) -> None:
    window = opened()
    page = window.page
    page.keyboard.press("/")
    page.keyboard.type(JANE)
    page.keyboard.press("Enter")
    page.wait_for_selector("table.timeline")
    for key in ("j", "j", "ArrowDown", "k"):
        page.keyboard.press(key)
    chosen = page.evaluate("document.activeElement.href")
    assert chosen == page.locator("a.row").nth(1).evaluate("link => link.href")
    page.keyboard.press("Enter")
    page.wait_for_selector("pre.body")
    page.keyboard.press("Escape")
    page.wait_for_selector("table.timeline")
    page.wait_for_selector("a.row:focus")
    assert page.evaluate("document.activeElement.href") == chosen
    page.keyboard.press("?")
    assert page.locator("#help").is_visible()
    assert violations(page) == []
    page.keyboard.press("Escape")
    assert not page.locator("#help").is_visible()


def test_keys_are_letters_in_a_field(opened: Open) -> None:
    window = opened()
    window.page.fill("#q", "")
    window.page.keyboard.type("j/k?y")

    assert window.page.input_value("#q") == "j/k?y"


def test_dark_can_be_chosen_and_is_remembered(opened: Open) -> None:
    window = opened(**LOOKS["wide"])
    before = window.page.evaluate("getComputedStyle(document.body).backgroundColor")
    window.page.click("#theme")
    after = window.page.evaluate("getComputedStyle(document.body).backgroundColor")
    window.go("/refused")

    assert before != after
    assert window.page.evaluate("getComputedStyle(document.body).backgroundColor") == after


def test_a_copied_link_shows_the_same_tomorrow(opened: Open) -> None:
    window = opened(permissions=["clipboard-read", "clipboard-write"])
    window.go("/p?q=jane%40example.com&since=7d")
    window.page.keyboard.press("y")
    window.page.wait_for_selector("#said:text-is('Copied')", state="attached")
    copied = window.page.evaluate("navigator.clipboard.readText()")

    assert re.search(r"since=20\d\d-\d\d-\d\dT", copied)
    assert "q=jane%40example.com" in copied


def test_another_page_of_the_browser_gets_nothing(opened: Open, tmp_path: Path) -> None:
    """Of another port of this machine, too, which to a cookie is the same site."""
    window = opened()
    with browsing({"ARCHIVE_FOLDER": str(tmp_path), "ARCHIVE_BUCKETS": "other"}) as other:
        page = window.page.context.new_page()
        page.goto(other)
        answers = page.evaluate(
            """async (base) => {
                const answers = [];
                for (const path of ["/", "/p.json?q=jane%40example.com", "/live/events"]) {
                    try {
                        const answer = await fetch(base + path, {credentials: "include"});
                        answers.push(await answer.text());
                    } catch (error) { answers.push("failed"); }
                }
                return answers;
            }""",
            window.base,
        )
        page.close()

    assert answers == ["failed"] * 3
    stranger = window.page.context.browser.new_context().new_page()
    stranger.goto(window.base)
    assert "token" in stranger.inner_text("body")
    stranger.context.close()


def opens(environ: dict[str, str], many: int) -> None:
    """So many events of Jane's, compacted."""
    at = UNTIL - timedelta(days=2)
    for number in range(0, many, 1_000):
        events = [
            {"email": JANE, "event": "open", "timestamp": 1_700_000_000 + n, "sg_event_id": f"e{n}"}
            for n in range(number, min(number + 1_000, many))
        ]
        put(environ, delivered(events, at + timedelta(seconds=number)))
    list(archive_of(environ, datetime.now(UTC)).compact())


def test_back_returns_to_the_row_that_was_left(opened: Open, tmp_path: Path) -> None:
    environ = {"ARCHIVE_FOLDER": str(tmp_path), "ARCHIVE_BUCKETS": "some"}
    opens(environ, 220)
    with browsing(environ) as address:
        window = opened(address, **LOOKS["wide"])
        page = window.page
        window.go("/p?q=jane%40example.com")
        for rows in (100, 150, 200):
            page.evaluate("scrollTo({top: document.documentElement.scrollHeight})")
            page.wait_for_selector(f"a.row >> nth={rows - 1}", state="attached")
        row = page.locator("a.row").nth(170)
        row.scroll_into_view_if_needed()
        row.focus()
        place = page.evaluate("document.activeElement.getBoundingClientRect().top")
        assert violations(page) == []
        page.keyboard.press("Enter")
        page.wait_for_selector("pre.body")
        page.go_back()
        page.wait_for_selector("a.row:focus")
        top = "document.activeElement.getBoundingClientRect().top"
        page.wait_for_function(f"place => Math.abs({top} - place) < 40", arg=place)

        assert page.evaluate("document.activeElement.closest('tr').id") == "r171"


def test_ten_thousand_rows_scroll(opened: Open, tmp_path: Path) -> None:
    environ = {"ARCHIVE_FOLDER": str(tmp_path), "ARCHIVE_BUCKETS": "many"}
    opens(environ, 10_000)
    with browsing(environ) as address:
        window = opened(address, **LOOKS["wide"])
        window.go("/p?q=jane%40example.com")
        assert "10,000 events" in window.page.inner_text("main")
        window.page.evaluate(
            """async () => {
                while (document.querySelector("a.more")) {
                    scrollTo({top: document.documentElement.scrollHeight, behavior: "instant"});
                    await new Promise(resolve => setTimeout(resolve, 20));
                }
            }"""
        )
        rows = window.page.locator("table.timeline tbody tr")

        assert rows.count() == 10_000
        before = cpu_seconds(window.page)
        window.page.evaluate(
            """async () => {
                for (let frame = 0; frame < 30; frame += 1) {
                    scrollBy({top: -2000, behavior: "instant"});
                    await new Promise(requestAnimationFrame);
                }
            }"""
        )
        assert (cpu_seconds(window.page) - before) / 30 < 0.1  # a frame: it answers


@pytest.mark.parametrize("look", ["wide", "narrow"])
def test_hostile_content_runs_nothing_and_breaks_no_layout(
    opened: Open, tmp_path: Path, look: str
) -> None:
    environ = {"ARCHIVE_FOLDER": str(tmp_path), "ARCHIVE_BUCKETS": "hostile"}
    arrived = UNTIL - timedelta(hours=5)
    keys = fill_with_hostile(environ, arrived)
    put(environ, line := long_line(arrived))
    with browsing(environ) as address:
        window = opened(address, **LOOKS[look])
        page = window.page
        page.wait_for_selector("figure.chart", timeout=60_000)
        paths = ["/", "/live", "/refused", "/p?q=long%40example.com"]
        paths += [f"/d/{key[-69:-5]}?key={key}" for key in [*keys, line.key] if "json" in key]
        for path in paths:
            window.go(path)
            if path == "/":
                page.wait_for_selector("figure.chart", timeout=60_000)

            assert page.evaluate("window.owned") is None, path
            assert too_wide(page) == [], path
            assert page.locator("footer").is_visible(), path
        for name, text in CORPUS.items():
            page.fill("#q", text.replace("\ud800", "")[:1000])
            page.press("#q", "Enter")
            page.wait_for_load_state()

            assert page.evaluate("window.owned") is None, name
            assert too_wide(page) == [], name
        page.screenshot(path=SHOTS / f"hostile-{look}.png")
