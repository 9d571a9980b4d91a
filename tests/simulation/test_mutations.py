"""What upholds the invariants, taken out: the simulation must notice, each time."""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from typing import Any

import pytest

from tests.helpers.spanning import spanning
from zenvark_web import Breaker, BreakerPolicy, ConstantBackoff, Outcome
from zenvark_web._circuits.outcomes import Outcomes
from zenvark_web._circuits.table import Table
from zenvark_web._coordination import election
from zenvark_web._coordination.reader import Reader
from zenvark_web._coordination.reporter import Reporter
from zenvark_web._core.admission import Admission
from zenvark_web._core.circuit import Circuit
from zenvark_web._core.states import Transition
from zenvark_web._judging import leader
from zenvark_web._judging.accounts import Accounts
from zenvark_web._judging.checkpoints import Checkpointer
from zenvark_web._runtime.clock import SharedClock
from zenvark_web._runtime.notifier import Notifier
from zenvark_web.backends.base import START
from zenvark_web.backends.memory import MemoryStore
from zenvark_web.testing import Fault, FaultKind, SimulationSettings, ViolationError, simulate

pytestmark = pytest.mark.untraced

Patch = Callable[[pytest.MonkeyPatch], None]

WORLD = SimulationSettings(calls=3.0)
HASTY = SimulationSettings(
    calls=12.0,
    circuits=1,
    policy=BreakerPolicy(backoff=ConstantBackoff(0.5), max_retry_after=0),
)
"""Tries again while calls from before are still under way."""


def calls_that_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    execute = Breaker.execute

    async def wait(self: Breaker, function: Any, *args: Any) -> Any:
        await asyncio.sleep(0.001)
        return await execute(self, function, *args)

    monkeypatch.setattr(Breaker, "execute", wait)


def no_fence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(MemoryStore, "_check_lease", lambda *_: None)


def no_deposition(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(election.Election, "_deposed", lambda self: None)


def no_order(monkeypatch: pytest.MonkeyPatch) -> None:
    apply = Table.apply

    def unordered(self: Table, transition: Transition) -> bool:
        with monkeypatch.context() as patch:
            patch.setattr(self, "known", lambda name: Transition(circuit=name))
            return apply(self, transition)

    monkeypatch.setattr(Table, "apply", unordered)


def no_catching_up(monkeypatch: pytest.MonkeyPatch) -> None:
    load = Reader._load

    async def once(self: Reader) -> None:
        if not self.loaded.is_set() or self._leader_waits:
            await load(self)
        self._stale = False

    monkeypatch.setattr(Reader, "_load", once)


def no_replay(monkeypatch: pytest.MonkeyPatch) -> None:
    load = Reader._load

    async def from_now_on(self: Reader) -> None:
        waits = self._leader_waits
        await load(self)
        if waits and self._results is not None:
            self._results = (await self._backend.load()).results

    monkeypatch.setattr(Reader, "_load", from_now_on)


def no_taking_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Circuit, "restore", lambda self, tally, now: True)


def counting_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    begin = Checkpointer.begin

    async def from_the_start(self: Checkpointer, snapshot: Any) -> str:
        await begin(self, snapshot)
        self._counted_up_to, self._numbers = {}, {}
        return START

    monkeypatch.setattr(Checkpointer, "begin", from_the_start)


def no_generations(monkeypatch: pytest.MonkeyPatch) -> None:
    report = Circuit.report

    def of_any(self: Circuit, instance: str, told: Any, **settings: Any) -> Any:
        runs = tuple(replace(run, generation=self.latest.generation) for run in told.runs)
        return report(self, instance, replace(told, runs=runs), **settings)

    monkeypatch.setattr(Circuit, "report", of_any)


def no_memory_of_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Checkpointer, "_is_new", lambda self, batch: True)


def no_giving_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(leader.Leader, "rewrite_states", lambda self, lost: None)
    monkeypatch.setattr(Reporter, "report_lost", lambda self, lost: None)
    monkeypatch.setattr(Table, "known_state", lambda self, name: None)


def no_word_of_states(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Table, "known_state", lambda self, name: None)


def no_accounts(monkeypatch: pytest.MonkeyPatch) -> None:
    def add(self: Accounts, batch: Any, expired: int) -> None:
        self.unwritten.clear()

    monkeypatch.setattr(Accounts, "add", add)
    monkeypatch.setattr("zenvark_web._circuits.batches.GIVEN_UP_AFTER", 1e9)


def hosts_clocks(monkeypatch: pytest.MonkeyPatch) -> None:
    wrong_by: dict[SharedClock, float] = {}

    def sync(self: SharedClock, now: float, asked: float) -> None:
        wrong = wrong_by.setdefault(self, -30.0 * len(wrong_by))  # each host's by another time
        self._offset = now - asked + wrong
        self.known.set()

    monkeypatch.setattr(SharedClock, "sync", sync)


def no_surfacing(monkeypatch: pytest.MonkeyPatch) -> None:
    async def run_one(self: Notifier, callback: Any, argument: object) -> None:
        with suppress(Exception):
            callback(argument)

    monkeypatch.setattr(Notifier, "_run_one", run_one)


def cancelled_calls_fail(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Outcomes, "of_error", lambda *_: (Outcome.FAILURE, "x"))


def no_counting_of_permits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Admission, "take", lambda self, now: self._trial is not None)


DOWN = Fault(5, FaultKind.UPSTREAM_CHANGES, target=0)
DOWN_FOR_LONG = [DOWN, Fault(200, FaultKind.UPSTREAM_CHANGES, target=0)]
ALL_DOWN = [Fault(5, FaultKind.UPSTREAM_CHANGES, target=number) for number in range(3)]
UP_AND_DOWN = [Fault(5 + 3 * n, FaultKind.UPSTREAM_CHANGES, target=0) for n in range(40)]
SLEEPING_LEADER = [
    *ALL_DOWN,
    *(Fault(8 + 4 * n, FaultKind.HOST_SLEEPS, target=-1, lasts=2.5) for n in range(20)),
]
SLEEPING_AS_IT_WRITES = sorted(
    [
        *SLEEPING_LEADER,
        *(Fault(5 + 3 * n, FaultKind.UPSTREAM_CHANGES, target=n % 3) for n in range(40)),
    ],
    key=lambda fault: fault.at,
)
LOST_DATA = [
    DOWN,
    Fault(20, FaultKind.UPSTREAM_CHANGES, target=0),
    Fault(50, FaultKind.SERVER_LOSES_ALL),
    Fault(51, FaultKind.HOST_DIES, target=1),
]
LOST_TIME = [
    DOWN,
    Fault(20, FaultKind.SERVER_CLOCK_JUMPS, amount=-1),
    Fault(21, FaultKind.SERVER_LOSES_ALL),
    Fault(25, FaultKind.UPSTREAM_CHANGES, target=0),
]
NEWCOMER_LEADS = [*ALL_DOWN, Fault(15, FaultKind.NEWCOMER_LEADS, target=1, lasts=3)]
BAD_NETWORK = [*ALL_DOWN, Fault(6, FaultKind.NETWORK_IS_BAD, lasts=60)]
HANGING_SERVER = [
    Fault(5, FaultKind.SERVER_HANGS, lasts=6),
    Fault(5.1, FaultKind.UPSTREAM_FAILS, target=0, lasts=1),
]
TAKEOVER = [
    Fault(5, FaultKind.HOST_SLEEPS, target=-1, lasts=8),
    Fault(5.1, FaultKind.UPSTREAM_FAILS, target=0, lasts=1.7),
]
"""The upstream fails just while there is no leader."""

SELDOM = SimulationSettings(instances=3, circuits=1, calls=0.04)
"""So few calls that failures in a row last longer than a checkpoint and a leader."""

LEADERS_GO = [
    Fault(5, FaultKind.UPSTREAM_FAILS, target=0, lasts=200),
    Fault(40, FaultKind.PROCESS_RESTARTS, target=-1),
]

MUTATIONS: dict[Patch, tuple[int, SimulationSettings, list[Fault]]] = {
    calls_that_wait: (0, WORLD, []),
    no_fence: (0, WORLD, SLEEPING_AS_IT_WRITES),
    no_deposition: (0, WORLD, SLEEPING_LEADER),
    no_order: (0, WORLD, BAD_NETWORK),
    no_catching_up: (0, WORLD, LOST_TIME),
    no_replay: (0, WORLD, TAKEOVER),
    no_taking_up: (0, SELDOM, LEADERS_GO),
    counting_twice: (0, SELDOM, LEADERS_GO),
    no_generations: (4, HASTY, DOWN_FOR_LONG),
    no_memory_of_batches: (2, WORLD, HANGING_SERVER),
    no_giving_back: (0, WORLD, LOST_DATA),
    no_word_of_states: (0, SimulationSettings(), NEWCOMER_LEADS),
    no_accounts: (0, WORLD, []),
    hosts_clocks: (0, WORLD, [DOWN]),
    no_surfacing: (0, WORLD, DOWN_FOR_LONG),
    cancelled_calls_fail: (0, WORLD, DOWN_FOR_LONG),
    no_counting_of_permits: (0, WORLD, DOWN_FOR_LONG),
}
"""Each with a fleet and faults that show it, and a seed that shows it at once."""

SPANNING = {no_fence, counting_twice, no_counting_of_permits}
"""Those that every run tries: a lease, a count, a permit."""

MOST_TRIES = 20
"""What a seed shows changes with every change of the code; another one near it will do."""


@pytest.mark.parametrize(
    "mutation", spanning(MUTATIONS, SPANNING), ids=lambda mutation: mutation.__name__
)
def test_taking_out_what_upholds_an_invariant_is_noticed(
    mutation: Patch, monkeypatch: pytest.MonkeyPatch
) -> None:
    seed, world, schedule = MUTATIONS[mutation]
    mutation(monkeypatch)
    with pytest.raises(ViolationError):
        search(range(seed, seed + MOST_TRIES), world, schedule)


def search(seeds: range, world: SimulationSettings, schedule: list[Fault]) -> None:
    for seed in seeds:
        simulate(seed, world, schedule)


@pytest.mark.parametrize(
    "mutation", spanning(MUTATIONS, {no_fence}), ids=lambda mutation: mutation.__name__
)
def test_the_same_passes_with_nothing_taken_out(mutation: Patch) -> None:
    seed, world, schedule = MUTATIONS[mutation]
    simulate(seed, world, schedule)
