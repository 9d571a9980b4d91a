"""The known overrides of an instance, against a register that loses nothing."""

from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    rule,
    run_state_machine_as_test,
)

from zenvark_web import Override, OverrideRecord
from zenvark_web._core.overrides import (
    KEPT_NUMBERS,
    MAX_REASON,
    OverrideRequest,
    Overrides,
    OverrideSnapshot,
    merged_by_name,
    seconds_left,
)

NAMES = ("payments", "pay*", "stock")
FOREVER = float("inf")


def record(
    circuit: str = "payments",
    number: int = 1,
    mode: Override | None = Override.FORCE_OPEN,
    *,
    follows: int = 0,
    until: float | None = None,
) -> OverrideRecord:
    return OverrideRecord(
        circuit=circuit,
        mode=mode,
        reason="why",
        actor="ops",
        at=0.0,
        until=until,
        number=number,
        follows=follows,
    )


def never(_: OverrideRecord) -> float:
    return FOREVER


class TestPrecedence:
    def test_names_before_patterns_and_more_letters_before_fewer(self) -> None:
        known = Overrides()
        patterns = ("*", "pay*", "payment?", "payments")
        for number, name in enumerate(reversed(patterns), start=1):
            known.apply(record(name, number, follows=number - 1), FOREVER)
        for number, name in enumerate(reversed(patterns), start=5):
            found = known.find("payments")
            assert found is not None
            assert found.circuit == name
            known.apply(record(name, number, None, follows=number - 1), FOREVER)
        assert known.find("payments") is None

    def test_the_newest_of_equals(self) -> None:
        known = Overrides()
        known.apply(record("pay*", 1), FOREVER)
        known.apply(record("*nts", 2, Override.OBSERVE, follows=1), FOREVER)
        found = known.find("payments")
        assert found is not None
        assert found.number == 2
        assert known.find("pay") is not None

    def test_of_several_shards(self) -> None:
        older, newer = record("pay*", 3), record("pay*", 4)
        assert merged_by_name([{"pay*": newer}, {"pay*": older}]) == {"pay*": newer}


class TestEnds:
    def test_it_holds_until_its_end(self) -> None:
        known = Overrides()
        known.apply(record(until=10), 10.0)
        assert known.end_due(9.99) == []
        assert known.next_end == 10.0
        [ended] = known.end_due(10.0)
        assert (known.in_force, known.ended) == ({}, [ended])
        assert known.next_end == FOREVER

    def test_or_until_the_shared_clock_says_so(self) -> None:
        known = Overrides()
        known.apply(record(until=10), 100.0)
        assert len(known.end_by_shared_clock(10.0)) == 1

    def test_a_clock_that_is_set_back_brings_none_back(self) -> None:
        known, told = Overrides(), record(until=10)
        known.apply(told, 10.0)
        known.end_due(10.0)
        known.load(OverrideSnapshot((0, 1), (told,)), lambda _: 1_000.0)
        assert known.in_force == {}

    def test_nor_does_it_prolong_one(self) -> None:
        known, told = Overrides(), record(until=10)
        known.apply(told, 10.0)
        known.load(OverrideSnapshot((0, 1), (told,)), lambda _: 1_000.0)
        assert known.ends_at(told) == 10.0

    @given(st.floats(-1e6, 1e6), st.floats(0.001, 1e6))
    def test_never_later_than_told(self, skew: float, lasts: float) -> None:
        told = record(until=lasts)
        assert seconds_left(told, skew) <= lasts


class TestGaps:
    def test_what_misses_its_predecessor_is_not_applied(self) -> None:
        known = Overrides()
        assert known.apply(record("payments", 5, follows=0), FOREVER)
        assert not known.apply(record("stock", 9, follows=7), FOREVER)
        assert (known.number, list(known.in_force)) == (5, ["payments"])

    def test_old_ones_are_passed_over(self) -> None:
        known = Overrides()
        known.apply(record("payments", 5), FOREVER)
        assert known.apply(record("stock", 4, follows=3), FOREVER)
        assert list(known.in_force) == ["payments"]

    def test_long_behind_is_nothing_lost(self) -> None:
        assert OverrideSnapshot((7, 8, 9)).lost_after(3) is None
        assert OverrideSnapshot((0, 8, 9)).lost_after(3) == 0
        assert OverrideSnapshot((2, 8, 9)).lost_after(8) is None
        assert OverrideSnapshot((2, 8, 9)).lost_after(12) == 9


class TestRequests:
    @pytest.mark.parametrize(
        "wrong",
        [
            {"circuit": ""},
            {"circuit": 7},
            {"mode": "force_open"},
            {"mode": True},
            {"reason": ""},
            {"reason": "  "},
            {"reason": "x" * (MAX_REASON + 1)},
            {"reason": "two\nlines"},
            {"reason": None},
            {"actor": ""},
            {"actor": "x" * 256},
            {"actor": "\x07"},
            {"expires_in": 0},
            {"expires_in": -1.0},
            {"expires_in": float("nan")},
            {"expires_in": 30 * 86_400 + 1},
            {"expires_in": True},
            {"expires_in": "1h"},
            {"expect": -1},
            {"expect": 1.5},
            {"expect": True},
        ],
        ids=repr,
    )
    def test_bad_ones_are_refused(self, wrong: dict[str, object]) -> None:
        good = {"circuit": "c", "mode": Override.OBSERVE, "reason": "why", "actor": "ops"}
        OverrideRequest(**good)  # type: ignore[arg-type]
        [name] = wrong
        with pytest.raises((TypeError, ValueError), match=name):
            OverrideRequest(**good | wrong)  # type: ignore[arg-type]


@dataclass
class Store:
    """What a store does, and a register of what was ever written."""

    numbers: tuple[int, ...] = (0,)
    records: dict[str, OverrideRecord] = field(default_factory=dict)

    def copy(self) -> "Store":
        return Store(self.numbers, dict(self.records))

    @property
    def snapshot(self) -> OverrideSnapshot:
        return OverrideSnapshot(self.numbers, tuple(self.records.values()))


class Member:
    """An instance: its position in the stream, and its set."""

    def __init__(self) -> None:
        self.known = Overrides()
        self.read = 0
        self.connected = True


class Fleet(RuleBasedStateMachine):
    """Operators, a store that loses data, and instances that miss news."""

    @initialize()
    def begin(self) -> None:
        self.now = 1
        self.store, self.backup = Store(), Store()
        self.stream: list[OverrideRecord | None] = []  # None: load everything
        self.members = [Member() for _ in range(3)]
        self.register: dict[str, OverrideRecord] = {}  # what holds, if nothing is ever lost
        self.lifted: set[int] = set()

    def write(self, name: str, mode: Override | None) -> None:
        self.now += 1
        number = max(self.store.numbers[-1] + 1, self.now)
        told = record(name, number, mode, follows=self.store.numbers[-1])
        self.store.numbers = (*self.store.numbers, number)[-KEPT_NUMBERS:]
        self.store.records[name] = told
        self.stream.append(told)
        before = self.register.pop(name, None)
        if before is not None:
            self.lifted.add(before.number)
        if mode is not None:
            self.register[name] = told

    @rule(name=st.sampled_from(NAMES), mode=st.sampled_from(Override))
    def sets(self, name: str, mode: Override) -> None:
        self.write(name, mode)
        self.deliver(self.members[0])  # somebody hears of it before it is lost

    @rule(name=st.sampled_from(NAMES))
    def lifts(self, name: str) -> None:
        self.write(name, None)
        self.deliver(self.members[0])

    @rule(which=st.integers(0, 2))
    def reads(self, which: int) -> None:
        if self.members[which].connected:
            self.deliver(self.members[which])

    @rule(which=st.integers(1, 2))
    def is_cut_off(self, which: int) -> None:
        self.members[which].connected = False

    @rule(which=st.integers(1, 2))
    def is_back(self, which: int) -> None:
        self.members[which].connected = True
        self.load(self.members[which])

    @rule()
    def saves(self) -> None:
        self.backup = self.store.copy()

    @rule()
    def loses_everything(self) -> None:
        self.store = Store()

    @rule()
    def comes_back_old(self) -> None:
        self.store = self.backup.copy()

    @rule(which=st.integers(0, 2))
    def loads(self, which: int) -> None:
        if self.members[which].connected:
            self.load(self.members[which])

    def deliver(self, member: Member) -> None:
        while member.read < len(self.stream):
            entry = self.stream[member.read]
            member.read += 1
            if entry is None or not member.known.apply(entry, FOREVER):
                self.load(member)

    def load(self, member: Member) -> None:
        snapshot, before = self.store.snapshot, member.known.number
        member.read = len(self.stream)
        if member.known.load(snapshot, never):
            restored = member.known.restored(snapshot, before)
            self.store = Store(restored.numbers, {each.circuit: each for each in restored.records})
            self.stream.append(None)

    def settle(self) -> None:
        """Everybody who is connected loads, as after an outage, until nothing changes."""
        for _ in range(3):
            for member in self.members:
                if member.connected:
                    self.load(member)
                    self.deliver(member)

    @invariant()
    def none_returns_that_was_lifted(self) -> None:
        for member in self.members[:1]:
            numbers = {each.number for each in member.known.in_force.values()}
            assert not numbers & self.lifted

    def teardown(self) -> None:
        for member in self.members:
            member.connected = True
        self.settle()
        for member in self.members:
            assert dict(member.known.in_force) == self.register
            assert member.known.number == self.store.numbers[-1]


def test_fleet() -> None:
    run_state_machine_as_test(Fleet)


class TestClockThatWasSetBackByDays:
    """The store gives everything the lowest number, and so does each instance."""

    AHEAD = 10**15

    def known(self) -> Overrides:
        made = Overrides()
        made.apply(record(number=self.AHEAD), 50.0)
        made.begin_anew()
        return made

    def test_what_is_known_stays_and_ends_in_time(self) -> None:
        known = self.known()
        oldest, later = record(number=1), record("stock", number=7, follows=1)
        assert not known.load(OverrideSnapshot((1, 7), (oldest, later)), lambda _: 99.0)
        assert known.in_force == {"payments": oldest, "stock": later}
        assert known.ends_at(oldest) == 50.0
        assert known.number == 7

    def test_what_was_decided_since_counts(self) -> None:
        known = self.known()
        lifted = record(mode=None, number=7)
        assert known.load(OverrideSnapshot((0, 7), (lifted,)), never), "it gives back all others"
        assert not known.in_force
