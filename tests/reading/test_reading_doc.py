"""docs/reading.md says what works: its example is run as it stands."""

import json
from datetime import UTC, datetime, timedelta

import pytest
from support.pages import text_of

from chalicelib.archive import to_object
from chalicelib.delivery import Delivery
from chalicelib.settings import from_environment
from chalicelib.sources import source_named
from chalicelib.store import open_store


def test_the_example_of_the_library_prints_the_events(
    folder_environ: dict[str, str],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    arrived = datetime.now(UTC) - timedelta(days=1)
    body = json.dumps([{"email": "jane@example.com", "event": "open", "sg_event_id": "e1"}])
    delivery = Delivery("sendgrid", {}, body.encode(), arrived)
    store = open_store(from_environment(folder_environ), "events")
    store.put(to_object(delivery, source_named("sendgrid"), prefix="", verdict="verified"))
    monkeypatch.chdir(folder_environ["ARCHIVE_FOLDER"] + "/..")

    example = text_of("docs/reading.md").partition("```python\n")[2].partition("```")[0]
    exec(compile(example, "docs/reading.md", "exec"), {})

    event, counted = capsys.readouterr().out.splitlines()
    assert event.endswith(" open verified")
    assert counted == "[{'type': 'open', 'events': 1, 'repeats': 0}]"
