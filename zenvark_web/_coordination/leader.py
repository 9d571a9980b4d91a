"""What the one leader does: judges results, publishes transitions, runs health checks.

Everything is decided by `Circuit`; this module brings it reports and time, and carries out what
comes back. A leader lasts for one lease. It may believe in its lease for too long (a paused
process does not notice), so every write is checked against the lease by the store itself.
"""

from __future__ import annotations

import asyncio
import heapq
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import replace
from itertools import islice

from .._core.circuit import Check, Circuit
from .._core.policy import PolicyBook
from .._core.states import Report, State, Transition
from .._core.strategies import TimeWindow
from ..backends.base import START, Backend, Batch, ResultEntry, Snapshot, position_key
from ..exceptions import BackendError, FencedError, MalformedEntryError, ZenvarkError, described
from ..statistics import Statistics
from .clock import SharedClock
from .health import HealthChecks
from .outage import Outage
from .reporter import MAX_AGE
from .surface import Surface, ends_this_task
from .table import Table

TIDY_INTERVAL = 5.0
INSTANCE_SILENCE = 30.0
RESULTS_AGE = 600.0
LONGEST_RESULTS_AGE = 3600.0
FORGET_AFTER = 3600.0
QUIET_FOR = 60.0
"""A circuit closed for so many seconds, and not called for so many, is no longer kept."""

FORGET_AT_ONCE = 100
MAX_SENDERS = 10_000
EVICTION_TRIES = 100


class Leader:
    """One lease's worth of leading.

    Args:
        instance: This instance's id.
        epoch: The lease's epoch.
        backend: Where transitions go.
        table: What this instance knows of the circuits.
        policies: The policies of circuits.
        clock: The shared clock.
        surface: Where errors go.
        statistics: Counts what is done.
        chance: Makes random numbers from 0 to 1.
        max_circuits: How many closed circuits to keep count of.
        watched: Circuits to check when they are quiet, though nobody has called them yet.
        on_fenced: Told when the lease turns out to be over.
        on_overtaken: Told when the store knows a newer transition than this leader.
    """

    def __init__(
        self,
        *,
        instance: str,
        epoch: int,
        backend: Backend,
        table: Table,
        policies: PolicyBook,
        clock: SharedClock,
        surface: Surface,
        statistics: Statistics,
        chance: Callable[[], float],
        max_circuits: int,
        watched: Iterable[str],
        on_fenced: Callable[[], None],
        on_overtaken: Callable[[], None],
    ) -> None:
        self.epoch = epoch
        self._instance = instance
        self._backend = backend
        self._table = table
        self._policies = policies
        self._now = clock.frozen()
        self._leads_since = self._now()
        self._surface = surface
        self._statistics = statistics
        self._chance = chance
        self._max_circuits = max_circuits
        self._watched = watched
        self._on_fenced = on_fenced
        self._on_overtaken = on_overtaken
        self._checks = HealthChecks(statistics, clock.monotonic)
        self._outage = Outage(surface, chance)
        self._circuits: dict[str, Circuit] = {}
        self._numbers: dict[str, int] = {}
        self._position = START
        self._began_at = position_key(START)
        self._unpublished: deque[Transition] = deque()
        self._to_publish = asyncio.Event()
        self._timers: list[tuple[float, str]] = []
        self._timer_of: dict[str, float] = {}
        self._timers_changed = asyncio.Event()
        self._fingerprints: frozenset[str] = frozenset()

    # What the reader brings

    def begin(self, snapshot: Snapshot) -> None:
        """Start from the store's states, and give back what it has lost."""
        self._began_at = position_key(snapshot.results)
        stored = {transition.circuit: transition.order for transition in snapshot.transitions}
        for name, transition in self._table.latest.items():
            if stored.get(name, (0, 0)) < transition.order:
                self._publish(transition)
            if transition.state is not State.CLOSED:
                self._begin(name)
        for name in self._watched:
            self._begin(name)

    def adopt(self, transition: Transition) -> None:
        """Go on from a transition that is now in force, unless it is this leader's own."""
        circuit = self._circuits.get(transition.circuit)
        if circuit is not None and transition.order > circuit.latest.order:
            del self._circuits[transition.circuit]
            self._begin(transition.circuit)

    def forget(self, circuit: str) -> None:
        """Begin a circuit anew that is no longer kept."""
        self._circuits.pop(circuit, None)

    def take(self, entry: ResultEntry) -> None:
        """Judge one entry of the stream of results."""
        self._position = entry.position
        batch = entry.item
        if isinstance(batch, MalformedEntryError):
            self._surface.error(batch)
        elif self._is_new(batch):
            for report in batch.reports:
                self._judge(batch.instance, self._without_expired(report), entry)

    def _is_new(self, batch: Batch) -> bool:
        """Whether it was not seen before: a batch whose reply was lost is sent again."""
        if batch.number <= self._numbers.pop(batch.instance, 0):
            return False
        self._numbers[batch.instance] = batch.number
        if len(self._numbers) > MAX_SENDERS:
            del self._numbers[next(iter(self._numbers))]
        return True

    def _judge(self, instance: str, report: Report, entry: ResultEntry) -> None:
        now = self._now()
        replayed = position_key(entry.position) <= self._began_at
        self._guarded(report.circuit, lambda circuit: circuit.repair(report.generation, now))
        self._guarded(
            report.circuit,
            lambda circuit: circuit.report(
                instance, report, at=entry.at, now=now, replayed=replayed
            ),
        )

    def _without_expired(self, report: Report) -> Report:
        if all(run.age <= MAX_AGE for run in report.runs):
            return report
        self._statistics.expired += sum(run.count for run in report.runs if run.age > MAX_AGE)
        return replace(report, runs=tuple(run for run in report.runs if run.age <= MAX_AGE))

    # Circuits

    def _begin(self, name: str) -> None:
        """Have a circuit, unless its strategy will not let itself be used."""
        self._guarded(name, lambda circuit: None)

    def _circuit(self, name: str) -> Circuit:
        circuit = self._circuits.get(name)
        if circuit is None:
            if len(self._circuits) >= self._max_circuits:
                self._evict()
            circuit = self._circuits[name] = self._make(self._table.known(name))
            self._set_timer(name)
        return circuit

    def _make(self, latest: Transition) -> Circuit:
        now = self._now()
        if latest.at > now:  # the store's clock was set back since
            latest = replace(latest, at=now)
        return Circuit(self._policies[latest.circuit], latest, now, self._chance)

    def _evict(self) -> None:
        """Forget a closed circuit, the one not heard of for longest if there is no better."""
        for name, _ in zip(list(self._circuits), range(EVICTION_TRIES), strict=False):
            circuit = self._circuits.pop(name)
            if circuit.latest.state is State.CLOSED:
                return
            self._circuits[name] = circuit

    def _guarded(
        self, name: str, decide: Callable[[Circuit], Transition | Check | None]
    ) -> Check | None:
        """Have a circuit decide, and carry it out. What a user's strategy or backoff raises
        stays with its own circuit.

        Returns:
            The health check that the circuit asks for, if it does.
        """
        try:
            decision = decide(self._circuit(name))
            self._set_timer(name)
        except BaseException as error:
            if ends_this_task(error):
                raise
            surfaced = ZenvarkError(f"circuit {name!r} could not be judged: {described(error)}")
            surfaced.__cause__ = error
            self._surface.error(surfaced)
            return None
        if isinstance(decision, Transition):
            self._publish(replace(decision, position=self._position))
            return None
        return decision

    # Loops

    async def run(self) -> None:
        """Lead, until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._publish_all())
            tasks.create_task(self._keep_time(tasks))
            tasks.create_task(self._tidy())

    def _publish(self, transition: Transition) -> None:
        self._unpublished.append(self._signed(transition))
        self._to_publish.set()

    def _signed(self, transition: Transition) -> Transition:
        return replace(transition, epoch=self.epoch, leader=self._instance)

    async def _publish_all(self) -> None:
        while True:
            await self._to_publish.wait()
            self._to_publish.clear()
            while self._unpublished:
                await self._publish_next()

    async def _publish_next(self) -> None:
        try:
            in_force = await self._backend.publish(self._unpublished[0])
        except FencedError as error:
            self._surface.error(error)
            self._on_fenced()
            await asyncio.get_running_loop().create_future()  # until cancelled
        except BackendError as error:
            await asyncio.sleep(self._outage.failed(error))
        else:
            self._outage.over()
            self._statistics.transitions += 1
            self._unpublished.popleft()
            if not in_force:
                self._on_overtaken()

    def _set_timer(self, name: str) -> None:
        deadline = self._circuits[name].deadline
        if deadline is not None and deadline < self._timer_of.get(name, float("inf")):
            self._timer_of[name] = deadline
            heapq.heappush(self._timers, (deadline, name))
            self._timers_changed.set()

    async def _keep_time(self, tasks: asyncio.TaskGroup) -> None:
        while True:
            self._timers_changed.clear()
            for name in self._due():
                check = self._guarded(name, lambda circuit: circuit.due(self._now()))
                if check is not None:
                    tasks.create_task(self._check(name, check))
            wait = self._timers[0][0] - self._now() if self._timers else None
            try:
                async with asyncio.timeout(wait):
                    await self._timers_changed.wait()
            except TimeoutError:
                pass

    def _due(self) -> list[str]:
        """The circuits whose time may have come."""
        now = self._now()
        names: list[str] = []
        while self._timers and self._timers[0][0] <= now:
            deadline, name = heapq.heappop(self._timers)
            if self._timer_of.get(name) == deadline:  # not overtaken by an earlier one
                del self._timer_of[name]
                names.append(name)
        return [name for name in names if name in self._circuits]

    async def _check(self, name: str, check: Check) -> None:
        error = await self._checks.run(name, self._policies[name], check)
        self._guarded(name, lambda circuit: circuit.checked(check, error, self._now()))

    async def _tidy(self) -> None:
        durations = (
            policy.strategy.duration
            for policy in self._policies.all()
            if isinstance(policy.strategy, TimeWindow)
        )
        age = min(max(RESULTS_AGE, *durations, 0.0), LONGEST_RESULTS_AGE)
        while True:
            await asyncio.sleep(TIDY_INTERVAL)
            try:
                present = await self._backend.tidy(age, INSTANCE_SILENCE)
                self._compare(frozenset(presence.fingerprint for presence in present))
                for transition in self._forgettable():
                    await self._backend.forget(self._signed(transition))
            except FencedError:
                pass  # the next transition or heartbeat tells
            except BackendError as error:
                self._outage.failed(error)

    def _forgettable(self) -> list[Transition]:
        """Circuits that have been closed for long and are not called, the oldest first."""
        now = self._now()
        quiet = (
            transition
            for transition in self._table.latest.values()
            if transition.state is State.CLOSED
            and now - transition.at > FORGET_AFTER
            and now - self._heard_at(transition.circuit) > QUIET_FOR
        )
        return list(islice(quiet, FORGET_AT_ONCE))

    def _heard_at(self, name: str) -> float:
        circuit = self._circuits.get(name)
        return self._leads_since if circuit is None else circuit.heard_at

    def _compare(self, fingerprints: frozenset[str]) -> None:
        if len(fingerprints) > 1 and fingerprints != self._fingerprints:
            self._surface.error(
                ZenvarkError(
                    f"instances disagree on their policies ({len(fingerprints)} versions: "
                    f"{', '.join(sorted(fingerprints))}); those of the leader decide"
                )
            )
        self._fingerprints = fingerprints
