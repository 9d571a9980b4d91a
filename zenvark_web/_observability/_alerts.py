"""The alerts: what each one detects, and what the person on call does."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

Severity: TypeAlias = Literal["critical", "warning", "info"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Alert:
    """One alert.

    Args:
        name: Its name.
        severity: `critical` wakes somebody up, `warning` is for working hours, and `info` goes to a
            channel.
        expr: The expression, with `<id>` for the labels that identify a fleet.
        lasts: How long it holds before the alert fires, as Prometheus writes durations; empty: at
            once.
        summary: One sentence, with `$labels`.
        means: What it means, in Markdown.
        look: What to look at.
        do: What to do.
    """

    name: str
    severity: Severity
    expr: str
    lasts: str = ""
    summary: str
    means: str
    look: str
    do: str


ALERTS = (
    Alert(
        name="CircuitOpen",
        severity="warning",
        expr=(
            "min by (<id>, breaker_id) (\n"
            '  zenvark_state{state="closed"}\n'
            "  unless ignoring (state, own_state)\n"
            '  zenvark_own_state{own_state="closed"} == 0\n'
            ") == 0"
        ),
        lasts="1m",
        summary="The circuit {{ $labels.breaker_id }} has not been closed for a minute.",
        means=(
            'The upstream fails, and the fleet spares it. The alert tests for "not closed":'
            " between two attempts to recover, a circuit is half-open for a moment, and a "
            "ramp is half-open as long as its schedule lasts. An instance that protects "
            "itself does not count: see `InstanceProtectsItself`."
        ),
        look=(
            "`zenvark-web why NAME` shows the failures that opened the circuit, the "
            "instances that reported them, and the next attempt to recover."
        ),
        do=(
            "Mend the upstream, or wait for it. `zenvark-web probe NAME` tries at once. If "
            "the circuit is wrong, `zenvark-web force-closed NAME --reason ... --for 1h` "
            "lets all calls pass. With a ramp, choose a `for` that is longer than its "
            "schedule."
        ),
    ),
    Alert(
        name="CircuitOpened",
        severity="info",
        expr=(
            "sum by (<id>, breaker_id) (increase(zenvark_openings_total[5m])) > 0\n"
            "or\n"
            "sum by (<id>, breaker_id)\n"
            "  (zenvark_openings_total unless zenvark_openings_total offset 5m) > 0"
        ),
        summary="The circuit {{ $labels.breaker_id }} has opened, possibly only for a moment.",
        means=(
            "The circuit opened within the last five minutes, even if no scrape saw it "
            "open. The second half of the expression is for series that begin with an "
            "opening, which `increase` does not detect."
        ),
        look="`zenvark-web events --circuit NAME` lists the changes with their reasons.",
        do="Nothing, if it is closed again. See `CircuitFlaps` if it returns.",
    ),
    Alert(
        name="CircuitFlaps",
        severity="warning",
        expr="sum by (<id>, breaker_id) (increase(zenvark_openings_total[30m])) > 2.5",
        summary="The circuit {{ $labels.breaker_id }} opens repeatedly.",
        means=(
            "Three outages in half an hour: the upstream recovers, and fails under the load"
            " that returns, or the strategy opens at failures that are normal for it."
        ),
        look=(
            "`zenvark-web events --circuit NAME` shows how long the circuit stays closed, and "
            "`zenvark-web why NAME` shows the kinds of failures."
        ),
        do=(
            "If it fails soon after it closes, use a `ramp`, so that its load returns in "
            "steps. If the failures are few and normal, raise the threshold of the "
            "strategy, or ignore their statuses."
        ),
    ),
    Alert(
        name="RampFails",
        severity="warning",
        expr=(
            "max by (<id>, breaker_id) (zenvark_admitted_share) == 0\n"
            "and\n"
            "max by (<id>, breaker_id) (max_over_time(zenvark_admitted_share[3m])) > 0 < 1"
        ),
        summary="The circuit {{ $labels.breaker_id }} opened again while its load returned.",
        means=(
            "A ramp was under way within the last three minutes, and the circuit is open "
            "again without having been closed: the upstream bears a part of the load, but "
            "not all of it."
        ),
        look='The panel "Admitted share" shows the step that failed.',
        do=(
            "Give the upstream more capacity or time: a lower first step, or a longer `ramp_step`."
        ),
    ),
    Alert(
        name="ObservedCircuitWouldBlock",
        severity="info",
        expr="sum by (<id>, breaker_id) (increase(zenvark_would_block_total[15m])) > 0",
        summary=(
            "The circuit {{ $labels.breaker_id }} would have rejected calls, and is only observed."
        ),
        means="`observe=True`, or an override, lets calls pass that the circuit would reject.",
        look=(
            '`zenvark-web why NAME` explains the verdict. The panel "Would block" shows how'
            " many calls it concerns."
        ),
        do=(
            "If the verdict is right, remove `observe`, or lift the override. If it is "
            "wrong, change the strategy before you enforce it."
        ),
    ),
    Alert(
        name="OverrideForgotten",
        severity="warning",
        expr='max by (<id>, mode) (zenvark_overrides{mode=~"force_open|force_closed"}) > 0',
        lasts="24h",
        summary=(
            "An operator's override ({{ $labels.mode }}) has been in force for more than a day."
        ),
        means=(
            "A circuit follows an operator instead of its upstream: held open, it recovers "
            "never, and forced closed, it protects nobody."
        ),
        look="`zenvark-web status` lists the overrides with their reasons, actors and ends.",
        do=(
            "Ask the actor, and lift it with `zenvark-web lift NAME`. Give overrides an "
            "end: `--for 2h`."
        ),
    ),
    Alert(
        name="InstanceProtectsItself",
        severity="warning",
        expr='min by (<id>, instance, breaker_id) (zenvark_own_state{own_state="closed"}) == 0',
        lasts="2m",
        summary=(
            "{{ $labels.instance }} rejects calls of {{ $labels.breaker_id }} by its own "
            "verdict, which the fleet does not share."
        ),
        means=(
            "The calls of one instance fail, and those of the others do not reach the "
            "quorum, or a common cause is suspected: the instance, its host or its network "
            "is at fault."
        ),
        look=(
            "`zenvark-web why NAME` names the suspects and the failures that they saw. The "
            'panel "Instances that protect themselves" shows since when.'
        ),
        do=(
            "Replace the instance, or mend its network (proxy, DNS, credentials). It "
            "recovers by itself."
        ),
    ),
    Alert(
        name="QuorumRefuses",
        severity="warning",
        expr="sum by (<id>, breaker_id) (increase(zenvark_quorum_refusals_total[15m])) > 0",
        lasts="5m",
        summary="Too few instances agree that {{ $labels.breaker_id }} fails.",
        means=(
            "The leader did not open the circuit, because the failures came from fewer "
            "instances than the `quorum`."
        ),
        look=(
            "`zenvark-web why NAME` names the suspects. `zenvark-web doctor` tells of one "
            "that has been a suspect for long."
        ),
        do=(
            "As for `InstanceProtectsItself`. If the failures come from many instances with"
            " few calls each, lower the quorum."
        ),
    ),
    Alert(
        name="NobodyLeads",
        severity="critical",
        expr=(
            'sum by (<id>, shard) (zenvark_role{role="leader"}) == 0\n'
            "unless\n"
            "max by (<id>, shard) (zenvark_led) > 0"
        ),
        lasts="30s",
        summary=(
            "Shard {{ $labels.shard }} has no leader, so its circuits neither open nor close."
        ),
        means=(
            "No instance holds the lease of the shard. All of them apply the last known states."
        ),
        look=(
            "`zenvark-web doctor` tests Redis, the scripts and the clocks. See the log "
            "lines of the event `error`."
        ),
        do=(
            "Mend Redis, or the way to it. An instance takes over within seconds, without a"
            " restart."
        ),
    ),
    Alert(
        name="LeaderChangesOften",
        severity="warning",
        expr='sum by (<id>, shard) (changes(zenvark_role{role="leader"}[30m])) > 6',
        summary="The leader of shard {{ $labels.shard }} changes again and again.",
        means=(
            "More than three takeovers in half an hour without restarts: leaders lose their"
            " lease, because their event loop is blocked, their host is starved, or Redis "
            "replies late."
        ),
        look=(
            'The panel "Leader" shows who leads. Look for blocked event loops and CPU '
            "limits at those instances, and at the latency of Redis."
        ),
        do="Remove what blocks the event loop, or raise `lease_ttl`.",
    ),
    Alert(
        name="CutOffFromRedis",
        severity="critical",
        expr=(
            "sum by (<id>) (zenvark_connected)\n"
            "<\n"
            "max by (<id>) (sum by (<id>, shard) (zenvark_role))"
        ),
        lasts="1m",
        summary="An instance cannot reach Redis and uses the last known states.",
        means=(
            "Its calls follow the last known states (or its own results, with "
            '`cut_off="local"`), and its results do not count.'
        ),
        look='`zenvark-web doctor` from the host of that instance; the panel "Connected".',
        do="Mend the network or Redis. Nothing has to be restarted.",
    ),
    Alert(
        name="ResultsLost",
        severity="warning",
        expr="sum by (<id>, reason) (increase(zenvark_results_lost_total[5m])) > 0",
        summary=(
            "Call results were lost ({{ $labels.reason }}), so circuits may open late or "
            "not at all."
        ),
        means=(
            "`expired`: results reached Redis or the leader more than about 10 s late. "
            "`dropped`: a buffer was full, or Redis lost its data."
        ),
        look='Whether `CutOffFromRedis` or `NobodyLeads` fire as well; the panel "Results".',
        do="Mend Redis. If neither fires, the leader is too slow: use `shards`.",
    ),
    Alert(
        name="DecisionsLate",
        severity="warning",
        expr=(
            "histogram_quantile(0.9,\n"
            "  sum by (<id>, le) (rate(zenvark_transition_delay_seconds_bucket[15m]))) > 2.5"
        ),
        summary="Circuits change more than 2.5 seconds after the result that decided it.",
        means=(
            "Results, decisions or states travel slowly: Redis is loaded or far away, or "
            "instances are starved of CPU."
        ),
        look=(
            'The panel "Delay of transitions" by instance; Redis\' own latency (`redis-cli '
            "--latency`)."
        ),
        do="Give Redis or the starved instances more CPU, or bring Redis nearer.",
    ),
    Alert(
        name="BackgroundErrors",
        severity="warning",
        expr="sum by (<id>, error) (increase(zenvark_errors_total[5m])) > 0",
        lasts="10m",
        summary="Errors of class {{ $labels.error }} occur in the background again and again.",
        means=(
            "Work beside the calls fails: requests to Redis, a health check, a callback or "
            "a classifier of your own."
        ),
        look="The log lines with that class; they name the circuit and what failed.",
        do=(
            "As the message says. Errors of your own callbacks never stop the coordinator, "
            "but what they should have done is missing."
        ),
    ),
    Alert(
        name="TooManyNames",
        severity="warning",
        expr="sum by (<id>) (increase(zenvark_unprotected_total[5m])) > 0",
        summary="New circuit names come too fast: the calls of some are not protected.",
        means=(
            "Names are made from something that strangers choose, such as hosts or headers,"
            " or a deployment has far more circuits than the limit for new names permits at"
            " once."
        ),
        look="`zenvark-web status --all` shows the names.",
        do=(
            "Map unknown hosts to one name or to None in `circuits`, or raise the limit if "
            "the names are right."
        ),
    ),
    Alert(
        name="NewerVersionPresent",
        severity="info",
        expr="sum by (<id>) (increase(zenvark_unknown_entries_total[15m])) > 0",
        summary="Instances skip entries that only newer versions know.",
        means=(
            "Instances of different versions share the fleet, and a newer one uses what the"
            " older one does not know. The older one applies the last state it knows of "
            "these circuits."
        ),
        look="`zenvark-web status` lists the versions of the instances.",
        do="Complete the deployment.",
    ),
    Alert(
        name="NothingReports",
        severity="critical",
        expr=(
            "absent(zenvark_connected)\n"
            "or\n"
            "count by (<id>) (present_over_time(zenvark_connected[1h]))\n"
            "unless\n"
            "count by (<id>) (zenvark_connected)"
        ),
        lasts="2m",
        summary="No instance exports metrics any more, so no other alert can fire.",
        means=(
            "Prometheus has scraped nothing for two minutes: the fleet is gone, or its "
            "metrics are not reached."
        ),
        look="The targets page of Prometheus.",
        do="Restore the scrape, or remove the alert with the service.",
    ),
)
"""All alerts, those of circuits first."""
