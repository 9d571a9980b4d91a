"""How many changes of circuits the log is told: a flood hides none of a circuit in use."""

from zenvark_web import Cause, Reason, State, StateChange
from zenvark_web._runtime.floods import CHANGES, INTERVAL, ChangeFloods, Verdict
from zenvark_web._runtime.host import Host


def opening(name: str, generation: int = 1, instances: int = 1) -> StateChange:
    seen = {f"web-{number}": 5 for number in range(instances)}
    reason = Reason(cause=Cause.TRIPPED, instances=seen)
    return StateChange(name, State.CLOSED, State.OPEN, generation, reason)


def test_a_flood_of_names_hides_no_circuit_in_use() -> None:
    now = 0.0
    floods = ChangeFloods(Host(monotonic=lambda: now))
    told = [floods.verdict(opening(f"stranger-{number}")) for number in range(5 * CHANGES)]
    assert told.count(Verdict.TOLD) == CHANGES
    assert told.count(Verdict.HELD_BACK_FIRST) == 1
    assert floods.verdict(opening("known", generation=3)) is Verdict.TOLD
    assert floods.verdict(opening("shared", instances=2)) is Verdict.TOLD
    now = INTERVAL
    assert floods.verdict(opening("stranger")) is Verdict.TOLD


def test_what_is_in_use_is_bounded_as_well() -> None:
    floods = ChangeFloods(Host(monotonic=lambda: 0.0))
    told = [floods.verdict(opening(f"known-{number}", 2)) for number in range(5 * CHANGES)]
    assert told.count(Verdict.TOLD) == CHANGES
    assert floods.verdict(opening("stranger")) is Verdict.TOLD
