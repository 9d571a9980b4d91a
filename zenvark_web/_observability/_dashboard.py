"""The dashboard as a file for Grafana (schema version 39, Grafana 10.4 and later)."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from typing import Any

from ._naming import Naming
from ._panels import PANELS, Panel

COLUMNS = 24
SOURCE = {"type": "prometheus", "uid": "${datasource}"}
FLEET = 'namespace=~"$namespace"'
CIRCUITS = f'{FLEET}, breaker_id=~"$circuit"'
STATES = (("closed", "green"), ("half-open", "orange"), ("open", "red"))


def dashboard(*, prefix: str = "zenvark", title: str = "Circuit breakers") -> str:
    """The dashboard, as JSON that Grafana imports.

    Args:
        prefix: That of `PrometheusMetrics`.
        title: Its title.

    Raises:
        ValueError: The prefix is not usable in Prometheus.
    """
    named = Naming(prefix)
    model = {
        "uid": f"{prefix}-circuits",
        "title": title,
        "description": "Circuits that a fleet of processes shares.",
        "tags": ["circuit breaker", prefix],
        "schemaVersion": 39,
        "editable": True,
        "refresh": "30s",
        "time": {"from": "now-3h", "to": "now"},
        "templating": {"list": list(_variables(named))},
        "panels": list(_placed(named)),
    }
    return json.dumps(model, indent=2) + "\n"


def _variables(named: Naming) -> Iterator[dict[str, Any]]:
    yield {
        "name": "datasource",
        "label": "Data source",
        "type": "datasource",
        "query": "prometheus",
    }
    yield _values("namespace", "Namespace", named("label_values(zenvark_role, namespace)"))
    circuits = named('label_values(zenvark_state{namespace=~"$namespace"}, breaker_id)')
    yield _values("circuit", "Circuit", circuits)


def _values(name: str, label: str, query: str) -> dict[str, Any]:
    return {
        "name": name,
        "label": label,
        "type": "query",
        "datasource": SOURCE,
        "query": query,
        "refresh": 2,
        "multi": True,
        "includeAll": True,
        "allValue": ".*",
        "current": {"text": "All", "value": "$__all"},
    }


def _placed(named: Naming) -> Iterable[dict[str, Any]]:
    """The panels, from left to right, in rows."""
    x = y = height = 0
    for number, panel in enumerate(PANELS, start=1):
        if x + panel.width > COLUMNS:
            x, y = 0, y + height
        height = panel.height
        yield _panel(number, panel, named) | {
            "gridPos": {"x": x, "y": y, "w": panel.width, "h": panel.height}
        }
        x += panel.width


def _panel(number: int, panel: Panel, named: Naming) -> dict[str, Any]:
    return {
        "id": number,
        "title": panel.title,
        "description": panel.text,
        "type": panel.kind,
        "datasource": SOURCE,
        "fieldConfig": {"defaults": _defaults(panel), "overrides": []},
        "targets": [
            {
                "refId": chr(ord("A") + place),
                "datasource": SOURCE,
                "expr": selected(named(query.expr)),
                "legendFormat": query.legend,
            }
            for place, query in enumerate(panel.queries)
        ],
    }


def _defaults(panel: Panel) -> dict[str, Any]:
    if panel.kind != "state-timeline":
        return {"unit": panel.unit, "min": 0}
    shown = {
        str(value): {"text": text, "color": colour, "index": value}
        for value, (text, colour) in enumerate(STATES)
    }
    return {"mappings": [{"type": "value", "options": shown}]}


def selected(expression: str) -> str:
    """An expression with the selection of the dashboard's variables."""
    return expression.replace("<fleet>", FLEET).replace("<circuits>", CIRCUITS)
