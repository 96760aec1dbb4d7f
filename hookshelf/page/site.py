"""The pages as a WSGI application: routes, exports, errors. What is shown is in views/."""

from __future__ import annotations

import json
import traceback
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta, tzinfo
from functools import partial
from http import HTTPStatus
from threading import BoundedSemaphore, Event
from typing import Any

from flask import Flask, Response, redirect, render_template, request
from markupsafe import Markup, escape
from werkzeug.exceptions import BadGateway, BadRequest, HTTPException, NotFound, ServiceUnavailable

from hookshelf.page.access import HEADERS, LAUNCH, Access
from hookshelf.page.figures import Figures
from hookshelf.page.question import Question, Twin
from hookshelf.page.views import Export, PageView, delivery, refused, views
from hookshelf.page.views.live import arriving
from hookshelf.reading import Archive
from hookshelf.reading.errors import NoSuchApp, NoSuchDelivery
from hookshelf.reading.lines import csv_head, csv_row
from hookshelf.reading.times import milliseconds, utc_text
from hookshelf.reading.values import ArchivedDelivery
from hookshelf.reading.words import LATE, read_in_words, sentence
from hookshelf.terminal import printable, readable_failures, show
from hookshelf.wording import counted, gaps_in_words, in_bytes, in_words, short_hash

MOST_LIVE = 6  # pages that may follow at once; each takes a thread
_TYPES = {"csv": "text/csv", "json": "application/json", "ndjson": "application/x-ndjson"}


@dataclass(frozen=True)
class Site:
    """What the pages are about."""

    archive: Archive
    access: Access
    place: str  # what the archive is called
    zone: tzinfo  # in which times are shown, unless a page is asked for another
    twin: Twin
    start: str = "/"  # the page that is opened first
    is_over: Event = field(default_factory=Event)
    figures: Figures = field(default_factory=Figures)


def wsgi_app(site: Site) -> Flask:
    """The WSGI application."""
    app = Flask(__name__)
    app.jinja_options = {"finalize": _finalized, "trim_blocks": True, "lstrip_blocks": True}
    app.jinja_env.filters |= {
        "bytes": in_bytes, "clip": _clipped, "coded": _coded, "count": counted, "lines": _lines,
        "read": read_in_words, "words": in_words,
        "seconds": lambda seconds: in_words(timedelta(seconds=seconds)),
        "dollars": lambda sum: f"{sum:,.2f}" if sum >= 1 or not sum else f"{max(sum, 0.0001):.4f}",
        "gaps": gaps_in_words, "short": short_hash, "sentence": sentence,
    }  # fmt: skip
    app.jinja_env.globals |= {"LATE": LATE, "place": site.place}
    app.before_request(partial(_refused, site))
    app.after_request(_with_headers)
    app.register_error_handler(HTTPException, _explained)
    app.register_error_handler(Exception, _unforeseen)
    every = views()
    navigation = [view for view in every if view.heading]
    _route(app, LAUNCH, "open", partial(_opened, site))
    for view in every:
        _route(app, view.route, view.name, partial(_rendered, site, navigation, view))
        if view.export:
            exported = partial(_exported, site, view)
            _route(app, f"{view.route}.<any(csv, json, ndjson):ending>", f"{view.name}.", exported)
    _route(app, "/d/<sha256>/body", "body", partial(_body, site, delivery.exact_body))
    _route(app, "/refused/body", "refused-body", partial(_body, site, refused.refused_body))
    live = BoundedSemaphore(MOST_LIVE)
    _route(app, "/live/events", "arriving", partial(_arriving, site, live))
    return app


def compile_templates(app: Flask, names: Iterable[str] = ("overview", "base", "macros")) -> None:
    """Compile some templates, at first those of the page that is opened first."""
    for name in names:
        app.jinja_env.get_template(f"{name}.html")


def warm_up(app: Flask) -> None:
    """Begin to count, and load what other pages need, before somebody asks for it."""
    with app.test_request_context("/"):
        app.view_functions["overview"]()
    compile_templates(app, [view.name for view in views()])


def _route(app: Flask, path: str, name: str, answer: Callable[..., Any]) -> None:
    app.add_url_rule(
        path, name.replace(".", "-"), answer, methods=["GET"], provide_automatic_options=False
    )


def _refused(site: Site) -> Response | None:
    refusal = site.access.refusal(request)
    if refusal is None:
        return None
    allow = {"Allow": "GET"} if refusal.status == HTTPStatus.METHOD_NOT_ALLOWED else {}
    return Response(f"{refusal.reason}\n", refusal.status, allow, content_type="text/plain")


def _with_headers(response: Response) -> Response:
    response.headers.update(HEADERS)
    return response


def _opened(site: Site) -> Response:
    """Trade the token for the cookie; the address without the token is what the browser shows."""
    if not site.access.opens(request.args.get("token", "")):
        return Response(
            "That is not the token of this page. Open the address that was printed last.\n",
            HTTPStatus.FORBIDDEN,
            content_type="text/plain",
        )
    response = Response(status=HTTPStatus.SEE_OTHER, headers={"Location": site.start})
    response.set_cookie(
        site.access.cookie, site.access.session, httponly=True, samesite="Strict", path="/"
    )
    return response


def _question(site: Site, **words: str) -> Question:
    """What this request asks for. Raises BadRequest for a parameter that is given twice."""
    twice = [name for name, values in request.args.lists() if len(values) > 1]
    if twice:
        raise BadRequest(f"{twice[0]} is given twice")
    path = request.path
    for ending in _TYPES:
        path = path.removesuffix(f".{ending}")
    return Question(site.archive, path, request.args.to_dict(), words, site.zone, site.twin)


def _rendered(site: Site, navigation: list[PageView], view: PageView, **words: str) -> Any:
    question = _question(site, **words)
    with _failures():
        question.check(view.parameters)
        question = _in_zone(question)
        page = view.page(question, site.figures)
    if page.redirect:
        return redirect(page.redirect)
    return render_template(
        f"{view.name}.html",
        question=question,
        url=question.url,
        person_url=question.person_url,
        delivery_url=question.delivery_url,
        now=question.now,
        page=page,
        view=view,
        navigation=navigation,
        exports=[
            (ending, _export_url(question, ending))
            for ending in _TYPES
            if view.export and page.read
        ],
        theme=request.cookies.get("theme") if request.cookies.get("theme") in _THEMES else "",
        moment=partial(_moment, question),
        ago=partial(_ago, question),
        **page.values,
    ), page.status


_THEMES = ("dark", "light")


def _exported(site: Site, view: PageView, *, ending: str, **words: str) -> Response:
    question = _question(site, **words)
    assert view.export
    with _failures():
        question.check(view.parameters)
        export = view.export(_in_zone(question), site.figures)
    response = Response(_written(export, ending), content_type=_TYPES[ending])
    response.headers["Content-Disposition"] = f'attachment; filename="{view.name}.{ending}"'
    return response


def _body(site: Site, exact: Callable[[Question], ArchivedDelivery], **words: str) -> Response:
    """The exact bytes, as nothing that a browser would run."""
    with _failures():
        whole = exact(_question(site, **words))
    name = f"{whole.sha256}.{whole.key.rpartition('.')[2]}"
    response = Response(whole.body, content_type="text/plain; charset=utf-8")
    response.headers["Content-Disposition"] = f'attachment; filename="{name}"'
    return response


def _arriving(site: Site, live: BoundedSemaphore) -> Response:
    question = _question(site)
    with _failures():
        question.check(["after"])
        question = _in_zone(question)
    if not live.acquire(blocking=False):
        raise ServiceUnavailable(f"{MOST_LIVE} pages are following already. Close one of them.")
    events = arriving(question, request.headers.get("Last-Event-ID", ""), site.is_over)
    response = Response(events, content_type="text/event-stream")
    response.call_on_close(live.release)
    return response


def _in_zone(question: Question) -> Question:
    """The question to an archive whose days are those of its time zone."""
    return replace(question, archive=question.archive.in_zone(question.tz))


@contextmanager
def _failures() -> Iterator[None]:
    """Within it, what is not in order is a status and its reason."""
    try:
        with readable_failures(BadRequest, BadGateway):
            yield
    except BadGateway as failure:
        if isinstance(failure.__context__, NoSuchApp | NoSuchDelivery):
            raise NotFound(failure.description) from None
        raise


def _explained(error: HTTPException) -> Any:
    status = error.code or HTTPStatus.INTERNAL_SERVER_ERROR
    return render_template("error.html", status=status, reason=error.description), status


def _unforeseen(error: Exception) -> Any:
    for line in "".join(traceback.format_exception(error)).splitlines():
        show(line, err=True)
    return _explained(BadGateway("This page failed. The terminal it was started from says why."))


def _export_url(question: Question, ending: str) -> str:
    given = {**question.given, "page": None, "part": None, "body": None}
    return question.url(f"{question.path}.{ending}", **given)


def _written(export: Export, ending: str) -> Iterator[str]:
    to_json = export.json or partial(json.dumps, default=str)
    if ending == "csv":
        yield csv_head(export.columns) + "\r\n"
        to_csv = export.csv or (lambda row: csv_row(row[name] for name in export.columns))
        for row in export.rows:
            yield to_csv(row) + "\r\n"
    elif ending == "ndjson":
        for row in export.rows:
            yield to_json(row) + "\n"
    else:
        before = "[\n"
        for row in export.rows:
            yield before + to_json(row)
            before = ",\n"
        yield "\n]\n" if before != "[\n" else "[]\n"


# --- what templates ask for


def _finalized(value: Any) -> Any:
    """What archives hold is text with nothing in it that a browser would obey or hide."""
    return printable(value) if type(value) is str else value


def _clipped(text: object, most: int = 240) -> str:
    whole = str(text)
    return whole if len(whole) <= most else f"{whole[:most]}…"


def _lines(text: str) -> Markup:
    """Text of several lines; whatever else is no printable character is escaped."""
    return Markup("\n").join(escape(printable(line)) for line in text.split("\n"))


def _coded(text: str) -> Markup:
    """A sentence of ours in which what stands between backticks is code."""
    parts = [escape(printable(part)) for part in text.split("`")]
    code = Markup("<code>{}</code>")
    return Markup("").join(code.format(p) if i % 2 else p for i, p in enumerate(parts))


def _moment(question: Question, moment: datetime) -> Markup:
    utc = utc_text(milliseconds(moment))
    return Markup('<time datetime="{}" title="{}">{}</time>').format(
        utc, utc, question.clock(moment)
    )


def _ago(question: Question, moment: datetime) -> str:
    seconds = (question.now - moment).total_seconds()
    return f"{in_words(question.now - moment)} ago" if seconds >= 0 else "later than now"
