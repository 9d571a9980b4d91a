"""Which circuits a judge keeps: bounded, by what would be lost and by use, in a short time."""

import time

import pytest

from zenvark_web import BreakerPolicy, ConsecutiveFailures, Outcome, State
from zenvark_web._core.circuit import Circuit
from zenvark_web._core.states import Report, Run, Transition
from zenvark_web._judging.places import LEAST_REMEMBERED, Places

POLICY = BreakerPolicy(strategy=ConsecutiveFailures(1_000_000))
FAILED = (Run(0, failed=True, slow=False, count=1, label="boom"),)
PASSED = (Run(0, failed=False, slow=False, count=1),)


class Keeper:
    """Places, and what is told of circuits."""

    def __init__(self, most: int) -> None:
        self.places = Places(most)
        self.now = 0.0
        self.gone: list[str] = []

    def report(
        self, name: str, outcome: Outcome = Outcome.FAILURE, instance: str = "web-1"
    ) -> None:
        self.now += 1
        report = Report(name, FAILED if outcome is Outcome.FAILURE else PASSED)
        place = self.places.place(name) or self._place(Transition(circuit=name))
        place.circuit.report(instance, report, at=self.now, now=self.now)
        place.note_report(instance, report)
        self.places.use(name, place)

    def open(self, name: str) -> None:
        self._place(Transition(circuit=name, generation=1, state=State.OPEN, delay=1.0))

    def _place(self, latest: Transition):  # type: ignore[no-untyped-def]
        gone = self.places.make_room()
        if gone is not None:
            self.gone.append(gone)
        return self.places.put(latest.circuit, Circuit(POLICY, latest, self.now, lambda: 0.0))

    def counted(self, name: str) -> int:
        """The failures in a row that a circuit has counted."""
        circuit = self.places.get(name)
        saved = None if circuit is None else circuit.save(self.now)
        counted = None if saved is None else saved.window
        return 0 if counted is None else sum(count for *_, count in counted.failures)


@pytest.mark.parametrize("between", [5, 15, 100, 900])
@pytest.mark.parametrize("outcome", [Outcome.FAILURE, Outcome.SUCCESS])
def test_names_heard_of_once_displace_no_count(between: int, outcome: Outcome) -> None:
    keeper = Keeper(20)
    for failure in range(20):
        keeper.report("honest")
        for number in range(between):
            keeper.report(f"stranger-{failure}-{number}", outcome)
    # The first failure may have had to go, when the circuit was heard of once like all others.
    assert keeper.counted("honest") >= 19
    assert len(keeper.places) == 20


def test_names_heard_of_again_and_again_displace_none_that_several_instances_call() -> None:
    keeper = Keeper(20)
    for failure in range(20):
        keeper.report("honest", instance=f"web-{failure % 2}")
        for number in range(30):
            for _ in range(3):
                keeper.report(f"stranger-{failure}-{number}")
    assert keeper.counted("honest") >= 19


def test_of_those_that_one_instance_calls_the_least_used_goes() -> None:
    keeper = Keeper(20)
    for _ in range(100):
        for number in range(10):
            keeper.report(f"used-{number}")
    for number in range(500):
        for _ in range(3):
            keeper.report(f"left-{number}")
        keeper.report(f"used-{number % 10}")
    assert all(keeper.counted(f"used-{number}") >= 100 for number in range(10))


def test_what_several_instances_called_long_ago_does_not_stay_for_ever() -> None:
    keeper = Keeper(20)
    for number in range(20):
        for instance in ("web-1", "web-2"):
            keeper.report(f"old-{number}", instance=instance)
    keeper.now += 1_000
    for _ in range(20):
        for number in range(5):
            keeper.report(f"honest-{number}")
    assert all(keeper.counted(f"honest-{number}") >= 15 for number in range(5))


def test_open_circuits_leave_room_for_others() -> None:
    keeper = Keeper(20)
    for number in range(1_000):
        keeper.open(f"open-{number}")
    assert len(keeper.places) == 20
    for _ in range(20):
        for number in range(9):
            keeper.report(f"honest-{number}")
        keeper.open(f"more-{_}")
    assert all(keeper.counted(f"honest-{number}") == 20 for number in range(9))


def test_open_ones_stay_where_there_are_few() -> None:
    keeper = Keeper(20)
    for number in range(5):
        keeper.open(f"open-{number}")
    for number in range(100):
        keeper.report(f"stranger-{number}")
    assert {f"open-{number}" for number in range(5)} <= keeper.places.names


def test_what_is_remembered_is_bounded() -> None:
    keeper = Keeper(20)
    for number in range(10 * LEAST_REMEMBERED):
        keeper.report(f"stranger-{number}")
    assert len(keeper.places._remembered) == LEAST_REMEMBERED


@pytest.mark.slow
def test_a_choice_takes_no_longer_where_there_are_many() -> None:
    def seconds(most: int) -> float:
        keeper = Keeper(most)
        for number in range(most):
            keeper.report(f"circuit-{number}")
            keeper.report(f"circuit-{number}")
        best = float("inf")
        for turn in range(5):
            began = time.process_time()
            for number in range(300):
                keeper.report(f"stranger-{turn}-{number}")
            best = min(best, time.process_time() - began)
        return best

    assert seconds(20_000) < 5 * seconds(100)
