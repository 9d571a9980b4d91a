"""The panels of the dashboard."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

Kind: TypeAlias = Literal["stat", "timeseries", "state-timeline"]


@dataclass(frozen=True, slots=True)
class Query:
    """A query of a panel.

    Args:
        expr: The expression, with `<fleet>` for the selected namespaces and `<circuits>` for the
            selected circuits in them.
        legend: The name of its series.
    """

    expr: str
    legend: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Panel:
    """A panel.

    Args:
        title: Its title.
        text: What it shows.
        kind: How it shows it.
        queries: Its queries.
        unit: The unit, as Grafana names it.
        width: Its part of 24 columns.
        height: Its rows.
    """

    title: str
    text: str
    queries: tuple[Query, ...]
    kind: Kind = "timeseries"
    unit: str = "short"
    width: int = 8
    height: int = 7


def _stat(title: str, text: str, expr: str) -> Panel:
    return Panel(title=title, text=text, kind="stat", queries=(Query(expr, ""),), width=6, height=4)


PANELS = (
    _stat(
        "Circuits not closed",
        "Circuits that reject calls, or try to recover.",
        'count(min by (namespace, breaker_id) (zenvark_state{<circuits>, state="closed"}) == 0)'
        " or vector(0)",
    ),
    _stat("Instances", "Instances that export metrics.", 'sum(zenvark_role{<fleet>, shard="0"})'),
    _stat(
        "Shards without a leader",
        "In these, circuits neither open nor close.",
        "count(max by (namespace, shard) (zenvark_led{<fleet>}) == 0) or vector(0)",
    ),
    _stat(
        "Overrides in force",
        "Decisions of operators that stand above the verdict.",
        "sum(max by (namespace, mode) (zenvark_overrides{<fleet>}))",
    ),
    Panel(
        title="State",
        text="The state of each circuit that has not been closed all the time.",
        kind="state-timeline",
        queries=(
            Query(
                "max by (namespace, breaker_id) ("
                '2 * zenvark_state{<circuits>, state="open"}'
                ' + ignoring (state) zenvark_state{<circuits>, state="half_open"})',
                "{{breaker_id}}",
            ),
        ),
        width=24,
        height=8,
    ),
    Panel(
        title="Calls",
        text="Permitted calls by their result.",
        queries=(
            Query(
                "sum by (result)"
                " (rate(zenvark_call_duration_seconds_count{<circuits>}[$__rate_interval]))",
                "{{result}}",
            ),
        ),
        unit="reqps",
    ),
    Panel(
        title="Rejected calls",
        text="Calls that an open circuit rejected.",
        queries=(
            Query(
                "sum by (breaker_id)"
                " (rate(zenvark_blocked_requests_total{<circuits>}[$__rate_interval])) > 0",
                "{{breaker_id}}",
            ),
        ),
        unit="reqps",
    ),
    Panel(
        title="Failures by kind",
        text="Where calls failed: in connecting, waiting, by their status, in the body.",
        queries=(
            Query(
                "sum by (kind) (rate(zenvark_failures_total{<circuits>}[$__rate_interval]))",
                "{{kind}}",
            ),
        ),
        unit="reqps",
    ),
    Panel(
        title="Failure rate",
        text="The share of permitted calls that failed.",
        queries=(
            Query(
                "sum by (breaker_id) (rate(zenvark_call_duration_seconds_count"
                '{<circuits>, result="failure"}[$__rate_interval]))'
                " / sum by (breaker_id)"
                " (rate(zenvark_call_duration_seconds_count{<circuits>}[$__rate_interval])) > 0",
                "{{breaker_id}}",
            ),
        ),
        unit="percentunit",
    ),
    Panel(
        title="Mean duration",
        text="The mean duration of permitted calls.",
        queries=(
            Query(
                "sum by (breaker_id)"
                " (rate(zenvark_call_duration_seconds_sum{<circuits>}[$__rate_interval]))"
                " / sum by (breaker_id)"
                " (rate(zenvark_call_duration_seconds_count{<circuits>}[$__rate_interval]))",
                "{{breaker_id}}",
            ),
        ),
        unit="s",
    ),
    Panel(
        title="Admitted share",
        text="The share of calls that circuits permit; between 0 and 1 in a ramp.",
        queries=(
            Query("min by (breaker_id) (zenvark_admitted_share{<circuits>}) < 1", "{{breaker_id}}"),
        ),
        unit="percentunit",
    ),
    Panel(
        title="Openings",
        text="Outages in the last hour, by cause.",
        queries=(
            Query(
                "sum by (breaker_id, cause) (increase(zenvark_openings_total{<circuits>}[1h])) > 0",
                "{{breaker_id}}: {{cause}}",
            ),
        ),
    ),
    Panel(
        title="Health checks",
        text="Health checks of the leaders, by type and result.",
        queries=(
            Query(
                "sum by (type, result) (rate("
                "zenvark_healthcheck_duration_seconds_count{<circuits>}[$__rate_interval]))",
                "{{type}}: {{result}}",
            ),
        ),
        unit="reqps",
    ),
    Panel(
        title="Forced and observed calls",
        text="Calls that an operator rejected, and calls that were permitted though the verdict "
        "would have rejected them.",
        queries=(
            Query(
                "sum by (breaker_id)"
                " (rate(zenvark_forced_requests_total{<circuits>}[$__rate_interval])) > 0",
                "{{breaker_id}} forced",
            ),
            Query(
                "sum by (breaker_id)"
                " (rate(zenvark_would_block_total{<circuits>}[$__rate_interval])) > 0",
                "{{breaker_id}} would block",
            ),
        ),
        unit="reqps",
    ),
    Panel(
        title="Instances that protect themselves",
        text="Instances that reject calls by a verdict of their own.",
        queries=(
            Query(
                'zenvark_own_state{<circuits>, own_state="closed"} == 0',
                "{{breaker_id}} on {{instance}}",
            ),
        ),
    ),
    Panel(
        title="Refused by the quorum",
        text="Decisions to open for which too few instances saw failures.",
        queries=(
            Query(
                "sum by (breaker_id)"
                " (rate(zenvark_quorum_refusals_total{<circuits>}[$__rate_interval])) > 0",
                "{{breaker_id}}",
            ),
        ),
    ),
    Panel(
        title="Leader",
        text="The instance that leads each shard.",
        queries=(
            Query('zenvark_role{<fleet>, role="leader"} > 0', "shard {{shard}}: {{instance}}"),
        ),
    ),
    Panel(
        title="Connected",
        text="Instances whose last request Redis answered.",
        queries=(Query("sum by (namespace) (zenvark_connected{<fleet>})", "{{namespace}}"),),
    ),
    Panel(
        title="Results",
        text="Call results on their way to the leader.",
        queries=(
            Query(
                "sum(rate(zenvark_results_recorded_total{<fleet>}[$__rate_interval]))", "recorded"
            ),
            Query(
                "sum(rate(zenvark_results_evaluated_total{<fleet>}[$__rate_interval]))",
                "evaluated",
            ),
            Query(
                "sum by (reason) (rate(zenvark_results_lost_total{<fleet>}[$__rate_interval]))",
                "{{reason}}",
            ),
        ),
        unit="reqps",
    ),
    Panel(
        title="Delay of transitions",
        text="From the deciding result to the effect on an instance: 90 % take no longer.",
        queries=(
            Query(
                "histogram_quantile(0.9, sum by (le)"
                " (rate(zenvark_transition_delay_seconds_bucket{<fleet>}[$__rate_interval])))",
                "90 %",
            ),
        ),
        unit="s",
    ),
    Panel(
        title="Entries in the streams",
        text="Batches of results that instances wrote, and transitions that leaders published.",
        queries=(
            Query("sum(rate(zenvark_batches_total{<fleet>}[$__rate_interval]))", "batches"),
            Query("sum(rate(zenvark_transitions_total{<fleet>}[$__rate_interval]))", "transitions"),
        ),
        unit="wps",
    ),
    Panel(
        title="Errors in the background",
        text="By class.",
        queries=(
            Query(
                "sum by (error) (rate(zenvark_errors_total{<fleet>}[$__rate_interval])) > 0",
                "{{error}}",
            ),
        ),
    ),
    Panel(
        title="Names and versions",
        text="Requests for names beyond the limit, and entries that only newer versions know.",
        queries=(
            Query("sum(rate(zenvark_unprotected_total{<fleet>}[$__rate_interval]))", "unprotected"),
            Query(
                "sum(rate(zenvark_unknown_entries_total{<fleet>}[$__rate_interval]))",
                "unknown entries",
            ),
        ),
    ),
)
"""All panels, in the order of their reading. At most 24: more are not looked at."""
