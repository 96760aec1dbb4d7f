"""The picture in the README is of the page as it is."""

from pathlib import Path

from support.pages import text_of
from support.screenshot import PICTURE, pictured, shown


def test_the_picture_shows_the_page_as_it_is(tmp_path: Path) -> None:
    """If not: `make screenshot`, and look at it."""
    assert pictured() == shown(tmp_path)


def test_the_readme_shows_it_on_the_first_screen() -> None:
    first_screen = text_of("README.md").partition("\n## ")[0]

    assert f"](docs/{PICTURE.name})" in first_screen
