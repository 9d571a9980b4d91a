"""Pages as text: columns, widths, durations, and what fits into a terminal."""

import json
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.cli.schema import check
from tests.unit.records import seconds, snapshots, suspects, transitions
from zenvark_web._core.order import Lease, Position
from zenvark_web._core.overrides import Override, OverrideRecord
from zenvark_web._core.states import CircuitSnapshot, State, Suspect, Transition
from zenvark_web._operators.advice import what_next
from zenvark_web._operators.overview import Overview
from zenvark_web._operators.records import dumped, of_circuit, of_event
from zenvark_web._operators.texts import clock, duration, escaped, zone
from zenvark_web.backends.base import Probe, StateEntry
from zenvark_web.backends.views import CircuitView, Event, Recent, SeenInstance, ShardView, Since
from zenvark_web.cli.blocks import Table, line
from zenvark_web.cli.explanation import circuit_page
from zenvark_web.cli.outcome import outcome_page
from zenvark_web.cli.pages import event_line, fleet_page, live_page
from zenvark_web.cli.printing import lines

TABLE = Table(("NAME", "STATE", "REASON"), (("a-long-name-of-a-circuit", "open", "x" * 50),))


def test_without_a_terminal_nothing_is_cut() -> None:
    assert lines([TABLE], None)[1].endswith("x" * 50)


@pytest.mark.parametrize("room", [30, 44, 60, 80])
def test_a_table_fits_the_terminal(room: int) -> None:
    header, row = lines([TABLE], room)
    assert max(len(header), len(row)) <= room
    assert row.index("open") == header.index("STATE")
    assert "…" in row


def test_columns_stand_in_line_whatever_their_characters() -> None:
    table = Table(("NAME", "STATE"), (("支払い", "open"), ("e\u0301", "open"), ("abc", "open")))
    _, wide, combined, narrow = lines([table], 80)
    assert narrow.index("open") == 8
    assert wide.index("open") == 8 - 3  # three characters of two cells
    assert combined.index("open") == 8 + 1


def test_long_lines_go_on_below_their_indent() -> None:
    found = lines([line("word " * 30, indent=4)], 40)
    assert all(each.startswith("    word") and len(each) <= 40 for each in found)


@pytest.mark.parametrize(
    ("seconds", "told"),
    [
        (-1.0, "0 ms"),
        (0.0, "0 ms"),
        (0.0004, "0.4 ms"),
        (0.25, "250 ms"),
        (4.23, "4.2 s"),
        (59.0, "59 s"),
        (300.0, "5 min"),
        (3 * 3600 + 120.0, "3 h 2 min"),
        (10 * 86_400.0, "10 days"),
        (1e300, "1000000 days"),
    ],
)
def test_durations(seconds: float, told: str) -> None:
    assert duration(seconds) == told


@pytest.mark.parametrize("at", [2**53 / 1000, 1e300, -1e300])
def test_moments_beyond_all_calendars(at: float) -> None:
    assert clock(at, 0.0) == "?"
    assert zone(at) == ""


def test_moments_of_other_days_have_a_date() -> None:
    assert len(clock(1e9, 1e9 + 60)) == len("03:12:45")
    assert len(clock(1e9, 1e9 + 86_400)) == len("2001-09-09 03:12:45")


def test_long_texts_are_cut() -> None:
    assert escaped("x" * 300, 10) == "x" * 10 + "…"
    assert escaped("a\nb") == r"a\nb"


def overview(circuits: int, *, state: State = State.OPEN, instances: int = 3) -> Overview:
    changes: dict[str, Transition] = {
        f"circuit-{number}": Transition(circuit=f"circuit-{number}", state=state)
        for number in range(circuits)
    }
    seen = tuple(
        SeenInstance(
            name=f"web-{number}",
            role="follower",
            silence=1.0,
            version="0.1.0",
            policies="x",
            shards=1,
        )
        for number in range(instances)
    )
    view = ShardView(
        number=0,
        now=1e9,
        lease=Lease(1, "web-0"),
        instances=seen,
        circuits=changes,
        since={name: Since(each, exact=True) for name, each in changes.items()},
    )
    return Overview(namespace="shop", server="redis://localhost:6379/0", views=[view])


@pytest.mark.parametrize("circuits", [0, 1, 100])
@pytest.mark.parametrize("instances", [0, 1, 100])
@pytest.mark.parametrize("height", [24, 50])
def test_the_live_page_fits_the_terminal(circuits: int, instances: int, height: int) -> None:
    page = live_page(overview(circuits, instances=instances), [], height)
    assert len(lines(page, 80)) <= height


def overridden(mode: Override, number: int, name: str) -> OverrideRecord:
    return OverrideRecord(
        circuit=name,
        mode=mode,
        reason="why",
        actor="ana@ops",
        at=1e9 - 60,
        until=None,
        number=number,
    )


@pytest.mark.parametrize("height", [24, 50])
@pytest.mark.parametrize("overrides", [1, 100])
def test_the_live_page_shows_overrides(height: int, overrides: int) -> None:
    fleet = overview(100)
    records = tuple(
        overridden(Override.FORCE_OPEN, number, f"circuit-{number}")
        for number in range(overrides, 0, -1)
    )
    whole = replace(fleet, views=[replace(fleet.views[0], overrides=records)])
    found = lines(live_page(whole, [], height), 80)
    assert len(found) <= height
    assert sum("forced open" in each and "never" in each for each in found) >= 1
    assert max(map(len, found)) <= 80


def test_what_calls_meet_is_shown_beside_the_verdict() -> None:
    fleet = overview(3)
    records = (
        overridden(Override.FORCE_OPEN, 2, "circuit-0"),
        overridden(Override.OBSERVE, 1, "circuit-*"),
    )
    whole = replace(fleet, views=[replace(fleet.views[0], overrides=records)])
    rows = [" ".join(each.split()) for each in lines(fleet_page(whole), None)]
    assert any(
        each.startswith("circuit-0 open, forced open") and "after the override" in each
        for each in rows
    )
    assert any(each.startswith("circuit-2 open, only observed") for each in rows)


def test_what_a_probe_leads_to() -> None:
    probe = Probe("circuit-0", "ana@ops", "why")
    page = lines(outcome_page(probe, overview(1, state=State.OPEN), "a lift", "a probe"), None)
    assert page[1].startswith("The next attempt is due at once")
    assert not [line for line in page if "a lift" in line or "a probe" in line]


@pytest.mark.parametrize("state", [State.OPEN, State.CLOSED])
def test_what_the_end_of_an_override_leads_to(state: State) -> None:
    fleet = overview(1, state=state)
    [circuit] = fleet.circuits
    assert circuit.transition is not None
    waits = replace(circuit.transition, at=fleet.now, delay=60.0)
    view = replace(fleet.views[0], circuits={circuit.name: waits})
    lifted = replace(overridden(Override.OBSERVE, 1, circuit.name), mode=None, until=None)
    page = lines(outcome_page(lifted, replace(fleet, views=[view]), "a lift", "a probe"), None)
    told = "The next attempt to recover is in 60 s. At once: a probe"
    assert (told in page) is (state is State.OPEN)


def test_circuits_that_are_not_closed_are_always_shown() -> None:
    found = lines(fleet_page(overview(100)), None)
    assert sum(" open " in each for each in found) == 100
    found = lines(fleet_page(overview(100, state=State.CLOSED)), None)
    assert sum(" closed " in each for each in found[2:]) == 50


@settings(max_examples=30)
@given(transitions | suspects, seconds)
def test_any_transition_can_be_shown(item: Transition | Suspect, now: float) -> None:
    event = Event(0, StateEntry(Position(1), item))
    assert event_line(event, now, shards=1).text.isprintable()
    check(json.loads(dumped(of_event(event))), "events")


@settings(max_examples=30)
@given(transitions, st.none() | snapshots, seconds)
def test_any_circuit_can_be_explained(
    item: Transition, snapshot: CircuitSnapshot | None, now: float
) -> None:
    closed = item.state is State.CLOSED
    view = CircuitView(
        shard=0,
        now=now,
        lease=Lease(1, "web-0"),
        current=item,
        since=None if closed else Since(item, exact=True),
        snapshot=snapshot,
        history=(item,),
        recent=Recent(span=60.0),
    )
    for text in lines(circuit_page(item.circuit, view), 80):
        assert text.isprintable()
    check(json.loads(dumped(of_circuit(item.circuit, view, what_next(view)))), "why")
