"""Numbers and findings in words."""

from __future__ import annotations

from collections.abc import Sequence

from .app import PAGE
from .findings import Findings
from .settings import DemoSettings


def seconds(duration: float) -> str:
    """A duration for people."""
    return f"{duration * 1000:.0f} ms" if duration < 1 else f"{duration:.2f} s"


def everywhere(apps: Sequence[str]) -> str:
    """All of these apps, in words."""
    return f"all {len(apps)} apps" if len(apps) > 1 else apps[0]


def starting(settings: DemoSettings) -> str:
    """The line while the demo starts."""
    if not settings.processes:
        return f"Starting {settings.instances} apps in this process ..."
    parts = " and an upstream" if settings.redis else ", an upstream and a Redis-compatible server"
    return f"Starting {settings.instances} apps{parts} ..."


def heading(settings: DemoSettings, store: str) -> str:
    """The heading of the demo."""
    apps = "app processes" if settings.processes else "apps in one process"
    return (
        f"{settings.instances} {apps} call one upstream and share one circuit through {store}.\n"
        f"{settings.rate * settings.instances:g} calls per second come in from outside."
    )


def page_address(app: str) -> str:
    """The line with the address of the status page."""
    return f"Status page of the fleet: {app}{PAGE}/"


def summary(findings: Findings) -> Sequence[str]:
    """The findings, one line each."""
    opened, closed = everywhere(findings.apps), everywhere(findings.survivors)
    facts = [
        (f"first failure -> open in {opened}", seconds(findings.open_after)),
        (f"failure that decided -> open in {opened}", seconds(findings.decided_after)),
        (f"upstream mended -> closed in {closed}", seconds(findings.closed_after)),
        ("calls that the upstream was spared", str(findings.spared)),
        ("failures passed on to callers", str(findings.failed)),
        ("calls that got through an open circuit", str(findings.strays)),
    ]
    if findings.takeover is not None:
        facts.insert(2, ("leader killed -> next leader", seconds(findings.takeover)))
    if findings.checks:
        facts.append((f"health checks, by {', '.join(findings.checkers)}", str(findings.checks)))
    if findings.trials:
        facts.append(("trial calls in the whole fleet", str(findings.trials)))
    width = max(len(what) for what, _ in facts)
    return [f"  {what:<{width}}  {number:>8}" for what, number in facts]
