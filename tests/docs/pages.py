"""What can be found in a page of the documentation."""

import re

from tests.helpers.processes import ROOT


def page(name: str) -> str:
    return (ROOT / "docs" / name).read_text()


def section(page: str, heading: str) -> str:
    """What stands between a heading and the next of its kind."""
    level = heading.partition(" ")[0]
    [found] = re.findall(
        rf"^{re.escape(heading)}\n(.*?)(?=^{level} |\Z)", page, re.MULTILINE | re.DOTALL
    )
    return str(found)


def rows(page: str, heading: str, *, head: str = "") -> list[list[str]]:
    """The rows of the tables in a section, without their heads.

    Args:
        page: The page.
        heading: The section's.
        head: A word of the head of the table that is meant; empty for all tables.
    """
    tables = re.findall(r"(?:^\|.*\n)+", section(page, heading), re.MULTILINE)
    found = [[cells(line) for line in table.splitlines()] for table in tables]
    return [row for top, _, *rest in found if not head or head in top for row in rest]


def cells(line: str) -> list[str]:
    return [cell.strip() for cell in line.strip("|").split("|")]


def items(page: str, heading: str) -> list[str]:
    """The items of the lists in a section."""
    text = section(page, heading)
    return re.findall(r"^- (.*(?:\n  .*)*)", text, re.MULTILINE)
