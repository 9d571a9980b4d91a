"""The alert rules as a file for Prometheus."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence

from ._alerts import ALERTS, Alert
from ._naming import SERVICE, Naming

HEAD = """\
# Alert rules for Prometheus, made by `zenvark-web rules`.
groups:
  - name: zenvark
    rules:
"""


def rules(
    *, prefix: str = "zenvark", labels: Sequence[str] = (SERVICE,), runbooks: str | None = None
) -> str:
    """The alert rules, as YAML.

    Args:
        prefix: That of `PrometheusMetrics`.
        labels: The labels of your own that tell services apart, by which alerts are grouped.
        runbooks: The address of the page of runbooks, for the annotation `runbook_url`.

    Raises:
        ValueError: A name is not usable in Prometheus.
    """
    named = Naming(prefix, labels)
    return HEAD + "".join(line for alert in ALERTS for line in _rule(alert, named, runbooks))


def _rule(alert: Alert, named: Naming, runbooks: str | None) -> Iterable[str]:
    yield f"      - alert: {alert.name}\n"
    yield "        expr: |\n"
    for line in named(alert.expr).splitlines():
        yield f"          {line}\n"
    if alert.lasts:
        yield f"        for: {alert.lasts}\n"
    yield "        labels:\n"
    yield f"          severity: {alert.severity}\n"
    yield "        annotations:\n"
    # A string of JSON is one of YAML as well.
    yield f"          summary: {json.dumps(alert.summary)}\n"
    if runbooks is not None:
        yield f"          runbook_url: {json.dumps(f'{runbooks}#{alert.name.lower()}')}\n"
