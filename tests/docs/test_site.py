"""mkdocs.yml: the navigation and llms.txt name every page."""

import re

from tests.examples.pages import blocks
from tests.helpers.processes import ROOT

CONFIG = (ROOT / "mkdocs.yml").read_text()
PAGES = {path.relative_to(ROOT / "docs").as_posix() for path in ROOT.glob("docs/**/*.md")}


def part(heading: str) -> str:
    """What stands below a key, up to the next that is indented as little."""
    [(indent, text)] = re.findall(
        rf"^( *)(?:- )?{heading}:\n((?:\1 +.*\n|\n)*)", CONFIG, re.MULTILINE
    )
    assert len(indent) < len(text)
    return str(text)


def test_the_navigation_names_every_page_once() -> None:
    named = re.findall(r"- (?:.*: )?([\w/-]+\.md)$", part("nav"), re.MULTILINE)
    assert sorted(named) == sorted(PAGES)


def test_llms_txt_names_every_page_once() -> None:
    named = re.findall(r"- ([\w/*-]+\.md)(?:: .*)?$", part("sections"), re.MULTILINE)
    api = {page for page in PAGES if page.startswith("api/")}
    assert sorted(named) == sorted(PAGES - api | {"api/*.md"})


def test_the_landing_page_shows_the_commands_of_the_readme() -> None:
    commands, readme = (
        {block.text for block in blocks(path, "bash")}
        for path in (ROOT / "docs/index.md", ROOT / "README.md")
    )
    assert len(commands) == 2
    assert commands <= readme
