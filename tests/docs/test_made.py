"""What `python -m tools` makes for the documentation is what is there."""

from pathlib import Path

import pytest

from tools.made import MADE
from tools.svg import PICTURES


@pytest.mark.parametrize("path", MADE, ids=lambda path: path.name)
def test_file_is_up_to_date(path: Path) -> None:
    assert path.read_text() == MADE[path](), "run `python -m tools`"


def test_every_drawing_is_made_by_a_tool() -> None:
    """Photographs of the status page differ from run to run; `python -m tools.page` makes them."""
    assert {path for path in PICTURES.iterdir() if path.suffix != ".png"} <= MADE.keys()


def test_every_picture_is_shown_in_both_schemes() -> None:
    pages = "".join(path.read_text() for path in PICTURES.parent.glob("*.md"))
    for picture in PICTURES.glob("*.svg"):
        scheme = picture.stem.rpartition("-")[2]
        assert f"](pictures/{picture.name}#only-{scheme})" in pages
