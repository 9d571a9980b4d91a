"""docs/runbooks.md, and the alert rules and the dashboard in examples/."""

from __future__ import annotations

from tools.svg import ROOT
from zenvark_web._observability import dashboard, rules
from zenvark_web._observability._alerts import ALERTS, Alert
from zenvark_web._observability._naming import Naming

PAGE = ROOT / "docs/runbooks.md"

HEAD = """\
# Runbooks

One section for each alert of `zenvark-web rules`: what it means, what to look at, and what to do.
[Metrics](metrics.md#alerts) shows how to install the rules. The commands need the URL of Redis,
`--redis` or `ZENVARK_REDIS`, and the fleet's `--namespace`.

| alert | severity | fires |
|---|---|---|
"""


def page() -> str:
    """The page."""
    return HEAD + "".join(map(_row, ALERTS)) + "".join(map(_section, ALERTS))


def _row(alert: Alert) -> str:
    when = f"after {alert.lasts}" if alert.lasts else "at once"
    return f"| [{alert.name}](#{alert.name.lower()}) | {alert.severity} | {when} |\n"


def _section(alert: Alert) -> str:
    expression = Naming()(alert.expr)
    return (
        f"\n## {alert.name}\n\n{alert.means}\n\n"
        f"Look at\n:   {alert.look}\n\nDo\n:   {alert.do}\n\n```promql\n{expression}\n```\n"
    )


FILES = {
    PAGE: page,
    ROOT / "examples/alerts.yml": rules,
    ROOT / "examples/dashboard.json": dashboard,
}
"""Each file, and what makes its text."""
