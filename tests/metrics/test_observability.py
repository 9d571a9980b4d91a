"""The alerts and the dashboard ask for metrics that are exported, and each alert is tried."""

import json
import re
from collections.abc import Iterator
from itertools import combinations
from typing import Any

import promql_parser as promql
import pytest

from tests.alerts.scenarios import SCENARIOS
from tests.helpers.command import ROOT
from zenvark_web import HealthCheckType, Override, Role, State
from zenvark_web._core.failure_kinds import FailureKind
from zenvark_web._observability import dashboard, rules
from zenvark_web._observability._alerts import ALERTS
from zenvark_web.metrics._families import FULL, Family
from zenvark_web.statistics import OPENING_CAUSES

BOARD = json.loads(dashboard())
PANELS = [panel for panel in BOARD["panels"] if panel["type"] != "row"]
ADDED = {"job", "service", "instance", "exported_namespace"}
"""Labels that Prometheus or a user adds."""

VALUES: dict[str, set[str]] = {
    "state": {*State},
    "own_state": {*State},
    "role": {*Role},
    "mode": {*Override},
    "kind": {*FailureKind},
    "type": {*HealthCheckType},
    "cause": {*OPENING_CAUSES},
    "shard": {"0"},  # which every fleet has
    "result": {"success", "failure"},
    "reason": {"dropped", "expired"},
}


def of_alerts() -> Iterator[Any]:
    expressions = re.findall(r"expr: \|\n((?: {10}.*\n)+)", rules())
    assert len(expressions) == len(ALERTS)
    for alert, expression in zip(ALERTS, expressions, strict=True):
        yield pytest.param(expression, id=alert.name)


def of_panels() -> Iterator[Any]:
    for panel in PANELS:
        for target in panel["targets"]:
            expression = target["expr"].replace("$__rate_interval", "1m")
            yield pytest.param(expression, id=f"{panel['title']} {target['refId']}")


@pytest.mark.parametrize("expression", [*of_alerts(), *of_panels()])
def test_metrics_labels_and_values_exist(expression: str) -> None:
    selected = list(selectors(promql.parse(expression)))
    assert selected
    for selector in selected:
        family, known = exported(selector.name)
        for matcher in selector.matchers.matchers:
            assert matcher.name in known, f"{family.name} has no label {matcher.name}"
            if not matcher.value.startswith("$"):
                assert {*matcher.value.split("|")} <= VALUES[matcher.name]


@pytest.mark.parametrize("expression", [*of_alerts(), *of_panels()])
def test_series_are_grouped_by_labels_that_they_have(expression: str) -> None:
    for aggregate in aggregates(promql.parse(expression)):
        grouped = set(aggregate.modifier.labels) if aggregate.modifier else set()
        for selector in selectors(aggregate.expr):
            assert grouped <= exported(selector.name)[1] | ADDED


@pytest.mark.parametrize(
    "target",
    [
        pytest.param(target, id=f"{panel['title']} {target['refId']}")
        for panel in PANELS
        for target in panel["targets"]
    ],
)
def test_legends_name_labels_of_the_result(target: dict[str, str]) -> None:
    legend = set(re.findall(r"{{(\w+)}}", target["legendFormat"]))
    expression = promql.parse(target["expr"].replace("$__rate_interval", "1m"))
    assert legend <= labels_of(expression)


def test_annotations_name_labels_of_the_result() -> None:
    for alert, [expression] in zip(ALERTS, (each.values for each in of_alerts()), strict=True):
        named = set(re.findall(r"\$labels\.(\w+)", alert.summary))
        assert named <= labels_of(promql.parse(expression)), alert.name


def test_each_alert_is_tried() -> None:
    cases = (ROOT / "tests/alerts/cases.yml").read_text()
    tried = {*re.findall(r'alertname="(\w+)"', cases)}.union(*(each.fires for each in SCENARIOS))
    assert tried == {alert.name for alert in ALERTS}


def test_dashboard_is_one_that_grafana_imports() -> None:
    assert set(BOARD) >= {"title", "uid", "schemaVersion", "panels", "templating", "time"}
    assert len(BOARD["uid"]) <= 40
    assert len(PANELS) <= 24
    numbers = [panel["id"] for panel in BOARD["panels"]]
    assert len(numbers) == len(set(numbers))
    for panel in PANELS:
        assert panel["type"] in {"stat", "timeseries", "state-timeline"}
        assert panel["title"]
        assert panel["description"]
        assert panel["datasource"] == {"type": "prometheus", "uid": "${datasource}"}
        references = [target["refId"] for target in panel["targets"]]
        assert references
        assert len(references) == len(set(references))
        assert set(panel["fieldConfig"]) == {"defaults", "overrides"}


def test_panels_do_not_overlap() -> None:
    places = [panel["gridPos"] for panel in BOARD["panels"]]
    for place in places:
        assert place["x"] >= 0
        assert place["x"] + place["w"] <= 24
    for one, other in combinations(places, 2):
        assert not (
            one["x"] < other["x"] + other["w"]
            and other["x"] < one["x"] + one["w"]
            and one["y"] < other["y"] + other["h"]
            and other["y"] < one["y"] + one["h"]
        )


def test_variables_that_are_used_exist() -> None:
    variables = {variable["name"] for variable in BOARD["templating"]["list"]}
    used = set(re.findall(r"\$\{?([a-zA-Z_]+)", json.dumps(BOARD)))
    assert used - {"__all", "__rate_interval"} == variables


def exported(name: str) -> tuple[Family, set[str]]:
    """The metric of a series, and its labels."""
    for family in FULL.all:
        suffixes = {cell.suffix for cell in family.cells}
        if family.kind == "histogram":
            suffixes.add("_count")
        for suffix in suffixes:
            if name == f"zenvark_{family.name}{suffix}":
                of_cells = {label for cell in family.cells for label in cell.label}
                if suffix in {"_count", "_sum"}:
                    of_cells -= {"le"}
                return family, {*family.labels, *of_cells}
    raise AssertionError(f"no metric exports {name}")


def labels_of(expression: promql.Expr) -> set[str]:
    """The labels of a result: those of the outermost aggregation, or else of the series."""
    for aggregate in aggregates(expression):
        return set(aggregate.modifier.labels) if aggregate.modifier else set()
    return exported(next(selectors(expression)).name)[1] | ADDED


def selectors(expression: promql.Expr) -> Iterator[promql.VectorSelector]:
    for each in nodes(expression):
        if isinstance(each, promql.VectorSelector):
            yield each


def aggregates(expression: promql.Expr) -> Iterator[promql.AggregateExpr]:
    """The outermost comes first."""
    for each in nodes(expression):
        if isinstance(each, promql.AggregateExpr):
            yield each


def nodes(expression: promql.Expr) -> Iterator[promql.Expr]:
    yield expression
    for name in ("expr", "lhs", "rhs", "vector_selector"):
        if (inner := getattr(expression, name, None)) is not None:
            yield from nodes(inner)
    for argument in getattr(expression, "args", ()):
        yield from nodes(argument)
