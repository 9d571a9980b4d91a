"""What an incident comes to, worked out from notes made up here: the verdict must see misdeeds."""

import pytest

from zenvark_web.demo.errors import MisbehaviourError
from zenvark_web.demo.findings import find, first_failure
from zenvark_web.demo.incident import Incident
from zenvark_web.demo.journal import Event, EventKind
from zenvark_web.demo.traffic import Calls
from zenvark_web.demo.upstream import Hit

APPS = ("app-1", "app-2")


def state(at: float, app: str, value: str, generation: int, effect: float = 0.0) -> Event:
    return Event(
        at=at, app=app, kind=EventKind.STATE, value=value, generation=generation, effect=effect
    )


def call(answered: float, *, ok: bool, state: str = "closed", asked: float | None = None) -> Hit:
    asked = answered - 0.01 if asked is None else asked
    return Hit(asked=asked, answered=answered, ok=ok, app="app-1", state=state)


def check(answered: float, *, ok: bool) -> Hit:
    return Hit(asked=0.0, answered=answered, ok=ok, app="", state="")


def incident(*events: Event, closed_as: int = 10) -> Incident:
    """The upstream broke at 100 and was mended at 105; the circuit was open from 100.3 to 106."""
    return Incident(
        broke_at=100.0,
        mended_at=105.0,
        before=dict.fromkeys(APPS, Calls()),
        events=[
            state(100.2, "app-1", "open", 7, 0.004),
            state(100.3, "app-2", "open", 7, 0.006),
            *events,
            state(105.9, "app-1", "closed", closed_as),
            state(106.0, "app-2", "closed", closed_as),
        ],
    )


HITS = [
    call(100.1, ok=False),
    call(100.15, ok=False),
    check(102.0, ok=False),
    check(105.8, ok=True),
    call(106.2, ok=True),
]
CALLS = {"app-1": Calls(answered=9, failed=2, rejected=40), "app-2": Calls(rejected=30)}


def test_the_times_run_from_the_first_event_to_the_last_app() -> None:
    findings = find(incident(), HITS, CALLS, trial=False)
    assert findings.open_after == pytest.approx(0.2)
    assert findings.decided_after == pytest.approx(0.006)
    assert findings.closed_after == pytest.approx(1.0)
    assert (findings.spared, findings.failed) == (70, 2)
    assert findings.problems == []


def test_only_what_happened_since_the_upstream_broke_counts() -> None:
    later = incident()
    later.before = {"app-1": Calls(rejected=15), "app-2": Calls(rejected=5)}
    assert find(later, HITS, CALLS, trial=False).spared == 50


def test_a_call_that_gets_through_an_open_circuit_is_a_problem() -> None:
    hits = [*HITS, call(103.0, ok=False)]
    findings = find(incident(), hits, CALLS, trial=False)
    assert findings.strays == 1
    assert findings.problems == ["calls that got through an open circuit: 1"]


def test_a_call_that_asked_before_the_circuit_was_open_is_none() -> None:
    late = call(103.0, ok=False, asked=100.19)
    assert find(incident(), [*HITS, late], CALLS, trial=False).strays == 0


def test_a_call_that_asked_after_the_upstream_answered_well_is_none() -> None:
    assert find(incident(), [*HITS, call(105.86, ok=True)], CALLS, trial=False).strays == 0


def test_trial_calls_that_were_granted_are_no_problem() -> None:
    trials = incident(
        state(103.0, "app-1", "half_open", 8),
        state(103.0, "app-2", "half_open", 8),
        state(103.1, "app-1", "open", 9),
        state(103.1, "app-2", "open", 9),
        state(105.7, "app-1", "half_open", 10),
        state(105.7, "app-2", "half_open", 10),
        closed_as=11,
    )
    hits = [
        call(100.1, ok=False),
        call(103.05, ok=False, state="half_open"),
        call(105.85, ok=True, state="half_open"),
    ]
    findings = find(trials, hits, CALLS, trial=True)
    assert (findings.trials, findings.trials_allowed, findings.strays) == (2, 2, 0)
    assert find(trials, hits, CALLS, trial=True, ramp=True).trials_allowed == 1
    more = call(103.06, ok=False, state="half_open")
    findings = find(trials, [*hits, more], CALLS, trial=True)
    assert findings.problems == ["trial calls: 3 made, 2 granted"]


def test_a_trial_call_is_a_problem_where_there_is_a_health_check() -> None:
    hits = [*HITS, call(103.0, ok=False, state="half_open")]
    findings = find(incident(), hits, CALLS, trial=False)
    assert findings.problems == ["trial calls: 1 made, 0 granted"]


def test_a_call_without_an_answer_is_a_problem() -> None:
    calls = {**CALLS, "app-2": Calls(rejected=30, unanswered=3)}
    findings = find(incident(), HITS, calls, trial=False)
    assert findings.problems == ["calls that got no answer from their app: 3"]


def test_what_was_noted_before_does_not_count() -> None:
    late = incident()
    late.events[:0] = [state(99.9, "app-1", "open", 5), state(104.9, "app-1", "closed", 8)]
    assert find(late, HITS, CALLS, trial=False) == find(incident(), HITS, CALLS, trial=False)
    assert late.opened("app-1") == incident().opened("app-1")
    assert late.closed("app-1") == incident().closed("app-1")


def test_an_incident_that_is_not_over_comes_to_nothing() -> None:
    unfinished = incident()
    unfinished.events.pop()
    assert unfinished.open_everywhere == 100.3
    assert unfinished.closed_everywhere is None
    with pytest.raises(ValueError, match="not over"):
        find(unfinished, HITS, CALLS, trial=False)


def test_a_leader_that_was_killed_need_not_close() -> None:
    show = incident(Event(at=103.5, app="app-2", kind=EventKind.ROLE, value="leader"))
    show.killed, show.killed_at = "app-1", 102.0
    show.events = [event for event in show.events if event.value != "closed"]
    show.events.append(state(106.0, "app-2", "closed", 10))
    findings = find(show, HITS, CALLS, trial=False)
    assert findings.takeover == pytest.approx(1.5)
    assert (findings.apps, findings.survivors) == (["app-1", "app-2"], ["app-2"])


def test_the_first_failure_is_a_call_and_no_health_check() -> None:
    assert first_failure([check(99.0, ok=False), call(101.0, ok=False), *HITS]).answered == 100.1


def test_a_circuit_that_opens_without_a_failure_is_a_problem() -> None:
    with pytest.raises(MisbehaviourError, match="no call of the upstream had failed"):
        first_failure([check(101.0, ok=False), call(102.0, ok=True)])
