"""The README and the documentation's pages, and what can be found in them."""

import re
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.helpers.processes import ROOT

PAGES = [ROOT / "README.md", *sorted(ROOT.glob("docs/**/*.md"))]


def named(page: Path) -> str:
    """What a page is called among the others."""
    return page.relative_to(ROOT).as_posix()


@dataclass(frozen=True)
class Block:
    """A fenced block of code."""

    page: Path
    line: int
    language: str
    text: str
    printed: str | None
    """What stands in the `text` block that follows at once."""

    def __str__(self) -> str:
        return f"{named(self.page)}:{self.line}"


FENCE = re.compile(
    r"^(?P<indent> *)```(?P<language>\w*)(?: [^\n]*)?\n(?P<text>.*?)^(?P=indent)```$"
    r"(?=(?:\n\n```text\n(?P<printed>.*?)^```$)?)",
    re.MULTILINE | re.DOTALL,
)


def blocks(page: Path, language: str = "python") -> Iterator[Block]:
    """The blocks of a language in a page."""
    source = page.read_text()
    for match in FENCE.finditer(source):
        if match["language"] == language:
            line = source.count("\n", 0, match.start()) + 1
            text = textwrap.dedent(match["text"])
            yield Block(page, line, language, text, match["printed"])


def headings(page: Path) -> set[str]:
    """The anchors of a page's headings."""
    titles = re.findall(r"^#+ (.+)$", FENCE.sub("", page.read_text()), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title).strip().lower().replace(" ", "-") for title in titles}
