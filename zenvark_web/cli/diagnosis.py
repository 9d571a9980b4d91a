"""The page of `zenvark-web doctor`."""

from __future__ import annotations

from collections.abc import Sequence

from .._operators.texts import counted
from .blocks import Block, Line, Page, Part, line
from .findings import Finding, Level

MARKS = {
    Level.PROBLEM: Part("PROBLEM  ", "bold red"),
    Level.NOTE: Part("note     ", "yellow"),
    Level.OK: Part("ok       ", "green"),
}


def findings_page(namespace: str, server: str, findings: Sequence[Finding]) -> Page:
    """Return the page of `doctor`, problems first."""
    order = list(MARKS)
    blocks: list[Block] = [line(Part(namespace, "bold"), Part(f"   {server}", "dim")), line()]
    for each in sorted(findings, key=lambda each: order.index(each.level)):
        blocks += _finding(each)
    return [*blocks, line(), _verdict(findings)]


def _finding(finding: Finding) -> Sequence[Line]:
    told = line(MARKS[finding.level], Part(f"{finding.check}: ", "bold"), finding.text)
    details = [line(each, indent=9) for each in finding.details]
    advice = [line(f"-> {finding.advice}", indent=9)] if finding.advice else []
    return [told, *details, *advice]


def _verdict(findings: Sequence[Finding]) -> Line:
    problems = sum(each.matters for each in findings)
    if problems:
        return line(Part(f"{counted(problems, 'problem')} found.", "bold red"))
    return line(Part("No problems found.", "bold green"))
