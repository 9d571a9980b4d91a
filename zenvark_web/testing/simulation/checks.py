"""The invariants of a simulated fleet. Each check runs at every step that can break its invariant.

By the numbers of the invariants in docs/architecture.md:

1.  A call through `Breaker.execute` ends without ever yielding to the event loop (in `hosts`).
2.  One instance writes under one epoch, none under an earlier lease, and only legal transitions.
3.  The circuits of an instance never go back. No instance makes more trial calls than granted.
4.  Soon after the last fault, all instances agree with each other and with the upstreams.
5.  Results in the stream that must open a circuit do open it after a while without faults,
    whichever instance leads; each result is evaluated, expired or dropped.
6.  No circuit opens by fewer failures than its generation had, or closes without a success of its
    own trial: calls of earlier generations, repeated results and cancelled calls (11) never count.
7.  After a loss of data, no generation is below one that the leader knew, and no circuit is closed
    that an instance knew to be open, unless it has recovered.
8.  Buffers, streams, batches in flight and tasks stay within their bounds.
10. Every exception of a user's callback is reported.
O1, O2, O6. All know the same overrides; none holds after its end; no call passes one that holds a
    circuit open.
N1, N2. Every transition is notified of; and again only by a later leader.
Q1. With a quorum, no circuit opens by the calls of fewer instances.
T1, T2. A named wait ends when it was said to (in `throttles`).
"""

from __future__ import annotations

from collections import Counter

from ..._circuits.batches import MAX_BATCHES
from ..._circuits.runs import MAX_AGE, MAX_RUNS
from ..._core.overrides import Override
from ..._core.quorum import REPORTING, instances_needed, is_shared
from ..._core.states import TRANSITIONS, Cause, Report, Run, State, Transition
from ..._core.strategies import ConsecutiveFailures, judges_slow_calls
from ..._judging.health import MAX_CHECKS
from ...backends.base import Batch
from ...breaker import Breaker
from ...events import PublishedChange
from .._network import Server
from .faults import WORST_RATE
from .hosts import Hosts, SimulatedHost
from .notifications import NotificationChecks
from .ramps import RampChecks
from .throttles import ThrottleChecks
from .world import World

TASKS_PER_SHARD = 16
CALLS_AT_ONCE = 500

UNSURE = 0.5
"""The tolerance of comparisons of times, in seconds."""

SURELY_REPORTING = 20.0
"""Seconds after a report in which a leader knows that an instance reports a circuit, even if the
leader was frozen meanwhile."""

FOREVER = (0.0, float("inf"))

LATE = 3.0
"""Seconds after its end in which an override may still be seen: a host that was frozen looks again
when its timers run."""

OVERDUE = 10.0
"""Seconds without faults, in addition to three leases, within which a leader must decide."""


class InvariantChecks:
    """Observes the servers of a world, and makes and observes its hosts.

    Args:
        world: The world.

    Attributes:
        hosts: The hosts.
    """

    def __init__(self, world: World) -> None:
        self._world = world
        self._require = world.require
        self._newest: dict[tuple[int, int, str], Transition] = {}
        self._closings: set[tuple[int, str, int]] = set()
        self._leaders: dict[tuple[int, int, int], str] = {}
        self._epochs: dict[tuple[int, int], int] = {}
        self._permits: Counter[tuple[str, int, str]] = Counter()
        self._trials: Counter[tuple[str, int, str]] = Counter()
        self._ended: Counter[tuple[str, int, bool]] = Counter()
        self._streaks: dict[tuple[int, int, str], _Streak] = {}
        self._lives: set[tuple[int, int]] = set()
        self._ramps = RampChecks(world)
        self._throttles = ThrottleChecks(world)
        self._notifications = NotificationChecks(world)
        self._numbers: dict[tuple[int, int, str], int] = {}
        self._owed: dict[tuple[int, int, str], tuple[int, float]] = {}
        strategy = world.settings.policy.strategy if world.settings.policy else None
        self._threshold = 5 if strategy is None else 1
        if strategy is not None and judges_slow_calls(strategy):
            self._threshold = 0  # slow calls alone may open
        if isinstance(strategy, ConsecutiveFailures):
            self._threshold = strategy.threshold
        policy = world.settings.policy
        self._quorum: float = 1 if policy is None else policy.quorum
        self._failed_on: dict[tuple[str, int], set[str]] = {}
        self._reported: dict[str, dict[str, float]] = {}
        self._streaks_decide = strategy is None or isinstance(strategy, ConsecutiveFailures)
        # With a quorum, a streak may be one instance's alone.
        self._streaks_decide = self._streaks_decide and not is_shared(self._quorum)
        for server in world.servers:
            server.observer = self
        self.hosts: Hosts = Hosts(world, self)

    # Writes of the stores

    def published(self, server: Server, transition: Transition) -> None:
        """A transition is in force."""
        number = self._world.servers.index(server)
        self._world.summary.transitions += 1
        self._world.tell(
            f"store {number}",
            f"{transition.circuit} {transition.state} {transition.generation} "
            f"by {transition.leader} in {transition.epoch}",
        )
        self._notifications.published(server, transition)
        self._check_leader((number, server.lives), transition)
        self._check_move((number, server.lives, transition.circuit), transition)
        self._check_repair(number, transition)
        self._check_evidence(transition)
        self._throttles.published(transition, server.clock())
        grant = transition.grant
        if grant is not None:
            key = (transition.circuit, transition.generation, grant.holder)
            self._permits[key] += grant.permits

    def _check_leader(self, life: tuple[int, int], transition: Transition) -> None:
        leader = self._leaders.setdefault((*life, transition.epoch), transition.leader)
        self._require(leader == transition.leader, "two instances wrote under one epoch")
        self._require(
            transition.epoch >= self._epochs.get(life, 0), "a lease that was over was written under"
        )
        self._epochs[life] = transition.epoch

    def _check_move(self, key: tuple[int, int, str], transition: Transition) -> None:
        before = self._newest.get(key)
        if before is not None:
            self._require(
                transition.generation > before.generation, "a generation was written over"
            )
        self._newest[key] = transition
        self._ramps.published(transition, self._world.servers[key[0]].clock())
        owed = self._owed.get(key)
        if owed is not None and transition.generation > owed[0]:
            del self._owed[key]
        if transition.reason.cause not in (Cause.INITIAL, Cause.REPAIRED):
            move = TRANSITIONS.get((transition.previous, transition.reason.cause))
            self._require(move is transition.state, f"no such move: {transition}")
        for host in self.hosts.present:
            if host.name == transition.leader:
                known = host.coordinator.shards[key[0]].table.known(transition.circuit)
                self._require(
                    transition.generation >= known.generation,
                    f"{transition.circuit} was set back from {known.generation}",
                )

    def _check_repair(self, number: int, transition: Transition) -> None:
        """Whether a leader closes a circuit because it knows less than others. (It may know more:
        that the circuit was closed in this generation before the store lost it.)"""
        if transition.state is not State.CLOSED:
            return
        closing = number, transition.circuit, transition.generation
        if transition.reason.cause is not Cause.REPAIRED:
            self._closings.add(closing)
        if closing in self._closings:
            return
        for host in self.hosts.present:
            known = host.coordinator.shards[number].table.known(transition.circuit)
            self._require(
                known.state is State.CLOSED
                or not 0 <= transition.generation - known.generation <= 1,
                f"{transition.circuit} was closed by a repair, though {host} knew it to be "
                f"{known.state} in generation {known.generation}",
            )

    def _check_evidence(self, transition: Transition) -> None:
        """Whether the results of the previous generation justify the transition."""
        circuit, before = transition.circuit, transition.generation - 1
        if transition.reason.cause in (Cause.TRIPPED, Cause.RAMP_FAILED):
            self._check_quorum(transition)
        if transition.reason.cause is Cause.TRIPPED:
            failures = self._ended[circuit, before, True]
            self._require(
                failures >= self._threshold,
                f"{circuit} was opened by {failures} failures of generation {before}",
            )
        elif transition.reason.cause is Cause.RAMP_FAILED:
            self._require(
                self._ended[circuit, before, True] >= self._threshold
                or "no answer" in transition.reason.detail,
                f"{circuit} was opened in a ramp without failures of generation {before}",
            )
        elif transition.reason.cause is Cause.TRIAL_PASSED or _ends_trial(transition):
            self._require(
                self._ended[circuit, before, False] > 0,
                f"{circuit} was closed without a success of generation {before}",
            )
        elif transition.reason.cause is Cause.TRIAL_FAILED:
            reason = transition.reason
            told = sum(reason.instances.values())
            unanswered = reason.failures.get("no answer", 0) + reason.failures.get("slow", 0)
            failures = self._ended[circuit, before, True]
            self._require(
                failures >= told - unanswered,
                f"{circuit} was opened again by {failures} failures of generation {before}",
            )

    def _check_quorum(self, transition: Transition) -> None:
        """Whether calls of enough instances have failed (Q1). A leader whose clock has gone ahead
        finds that all others have been silent for too long."""
        now, circuit = self._world.loop.now, transition.circuit
        leaders = [host for host in self.hosts.present if host.name == transition.leader]
        has_jumped = any(now - host.jumped_at < REPORTING for host in leaders)
        if not is_shared(self._quorum) or has_jumped:
            return
        generation, seen = transition.generation - 1, self._reported.get(circuit, {})
        reporting = sum(now - at < SURELY_REPORTING for at in seen.values())
        failed_on = self._failed_on.get((circuit, generation), set())
        self._require(
            len(failed_on) >= instances_needed(self._quorum, reporting),
            f"{circuit} was opened by failures of {sorted(failed_on)} alone in generation "
            f"{generation}, while {reporting} instances reported it",
        )

    def appended(self, server: Server, batch: Batch) -> None:
        """A batch is in the stream; determine the circuits that it must open."""
        number = self._world.servers.index(server)
        if (number, server.lives) not in self._lives:
            self._begin_life(number, server)
        key = (number, server.lives, batch.instance)
        if batch.number <= self._numbers.get(key, 0):
            return
        self._numbers[key] = batch.number
        for report in batch.reports:
            if report.runs:
                self._reported.setdefault(report.circuit, {})[batch.instance] = self._world.loop.now
        if not self._streaks_decide:
            return
        late = max(0.0, server.clock() - batch.sent)
        for report in batch.reports:
            self._follow((number, server.lives, report.circuit), report, server.clock(), late)

    def _begin_life(self, number: int, server: Server) -> None:
        self._lives.add((number, server.lives))
        self._reported.clear()  # what the server has lost, its leader does not know
        for transition in server.store.load().transitions:
            self._newest.setdefault((number, server.lives, transition.circuit), transition)

    def _follow(self, key: tuple[int, int, str], report: Report, now: float, late: float) -> None:
        newest = self._newest.get(key)
        current = newest.generation if newest else 0
        streak = self._streaks.get(key)
        if streak is None or streak.generation != current:
            streak = self._streaks[key] = _Streak(current)
        if newest is not None and newest.state is not State.CLOSED:
            return
        for run in report.runs:
            if run.generation == current and run.age + late < MAX_AGE - UNSURE:
                streak.add(run, now - run.age - late)
            if streak.failures >= self._threshold and self._is_current(key):
                self._owed.setdefault(key, (current, self._world.loop.now))

    def _is_current(self, key: tuple[int, int, str]) -> bool:
        """Whether no instance knows a newer generation than the store, which may have lost it."""
        newest = self._newest.get(key)
        generation = newest.generation if newest else 0
        tables = (host.coordinator.shards[key[0]].table for host in self.hosts.present)
        return all(table.known(key[2]).generation <= generation for table in tables)

    # Calls

    def passed(self, instance: str, breaker: Breaker) -> None:
        """A call is permitted."""
        generation, state = breaker.generation, breaker.state
        override = breaker.override
        self._require(
            override is None or override.mode is not Override.FORCE_OPEN,
            f"{instance} made a call of {breaker.name}, which an operator holds open",
        )
        if state is State.CLOSED or generation < 0:
            return
        if self._ramps.passed(instance, breaker):
            return
        key = (breaker.name, generation, instance)
        self._trials[key] += 1
        self._require(
            state is State.HALF_OPEN and self._trials[key] <= self._permits[key],
            f"{instance} made a call of {breaker.name} for which it had no permit",
        )

    def told_to_wait(self, circuit: str, seconds: float) -> None:
        """An upstream names a wait."""
        self._throttles.told(circuit, seconds)

    def ended(self, instance: str, circuit: str, generation: int, *, failed: bool) -> None:
        """A call ends without a cancellation."""
        self._ended[circuit, generation, failed] += 1
        if failed:
            self._failed_on.setdefault((circuit, generation), set()).add(instance)

    def cancelled(self, instance: str, circuit: str, generation: int, *, slow: bool) -> None:
        """A call was cancelled: the permit of a trial call may be used again, unless the call was
        slow, which is a failure."""
        if slow:
            self.ended(instance, circuit, generation, failed=True)
        else:
            self._trials[circuit, generation, instance] -= 1

    def notified(self, instance: str, change: PublishedChange) -> None:
        """An instance calls `on_published`."""
        self._notifications.notified(instance, change)

    # Instances

    def watch(self, host: SimulatedHost) -> None:
        """Check each transition that a host applies."""
        for shard in host.coordinator.shards:
            shard.table.latest = _OnlyNewer(self._world, host)

    def look_at(self, host: SimulatedHost) -> None:
        """Check the counts and the buffers of a host."""
        counted = host.coordinator.statistics
        self._require(
            counted.recorded >= counted.evaluated + counted.expired + counted.dropped
            and min(counted.evaluated, counted.expired, counted.dropped) >= 0,
            f"{host} counted a result twice",
        )
        for shard in host.coordinator.shards:
            self._require(
                shard.outbox.budget.used <= MAX_RUNS,
                f"{host}: more waits than may",
            )
            self._require(
                len(shard.outbox.in_flight) <= MAX_BATCHES, f"{host}: more is entered than may"
            )

    def look_at_overrides(self, host: SimulatedHost) -> None:
        """Check that no override holds after its end."""
        if host.paused:
            return
        for name in self._world.circuits:
            override = host.coordinator.breaker(name).override
            set_at, ends_at = self._world.overrides.get(override.number if override else 0, FOREVER)
            late = self._world.loop.now - ends_at - (ends_at - set_at) * WORST_RATE
            # Redis' clock alone tells a newcomer how old an override is, until it is removed.
            by_clock = host.born_at > set_at and self._world.clocks_set_at > set_at
            self._require(
                late < LATE or by_clock,
                f"{host} still applies an override of {name} after its end",
            )

    def look_for_what_is_owed(self, calm_since: float) -> None:
        """Check that leaders decide in time."""
        patience = OVERDUE + 3 * self._world.settings.lease_ttl
        for (number, life, circuit), (generation, since) in tuple(self._owed.items()):
            if self._world.servers[number].lives != life:
                del self._owed[number, life, circuit]
                continue
            waited = self._world.loop.now - max(since, calm_since)
            self._require(
                waited < patience,
                f"{circuit} stays in generation {generation}, though all that opens it is known",
            )

    def look_at_tasks(self) -> None:
        """Check the number of tasks of each host."""
        counts = Counter(getattr(task, "machine", None) for task in self._world.loop.tasks)
        shards = self._world.settings.shards
        most = shards * (TASKS_PER_SHARD + 2 * MAX_CHECKS) + CALLS_AT_ONCE
        for machine, tasks in counts.items():
            self._require(tasks <= most, f"{machine} has {tasks} tasks under way")

    # At the end

    def disagreement(self) -> str | None:
        """The first disagreement of the fleet, if there is one."""
        world = self._world
        for number, _ in enumerate(world.servers):
            leaders = [host for host in self.hosts.present if host.coordinator.leads(number)]
            if len(leaders) != 1:
                return f"shard {number} is led by {leaders}"
        for host in self.hosts.present:
            if not host.coordinator.connected:
                return f"{host} is cut off"
        known = [
            {name: each.number for name, each in host.coordinator.overrides.items()}
            for host in self.hosts.present
        ]
        if any(each != known[0] for each in known):
            return f"the overrides are {known}"
        for name in world.circuits:
            if name not in world.touched:
                continue
            breakers = [host.coordinator.breaker(name) for host in self.hosts.present]
            states = sorted({breaker.verdict for breaker in breakers})
            if (name in world.down) is (State.CLOSED in states):
                return f"{name} is {states}, its upstream down: {name in world.down}"
            if name not in world.down and len({each.generation for each in breakers}) != 1:
                return f"{name} has {[each.generation for each in breakers]}"
        return None

    def close_accounts(self) -> None:
        """Check that each result was accounted for, each transition notified of, and each error
        reported."""
        self._notifications.close()
        for host in self.hosts.present:
            counted = host.coordinator.statistics
            became = counted.evaluated + counted.expired + counted.dropped
            self._require(
                counted.recorded == became,
                f"{host} recorded {counted.recorded}, of which {became} became something",
            )
            told = counted.errors["CallbackError"]
            self._require(
                told == host.broken, f"{host}: of {host.broken} broken callbacks, {told} surfaced"
            )


def _ends_trial(transition: Transition) -> bool:
    """Whether the transition begins a ramp after trial calls. (A health check may pass during the
    trial call of a second opinion, of which a new leader knows nothing.)"""
    by_check = "health check" in transition.reason.detail
    return (
        transition.reason.cause is Cause.RAMP
        and transition.previous is State.HALF_OPEN
        and not by_check
    )


class _Streak:
    """Consecutive failures of one generation in any order that a leader may see: a success resets
    those that ended before it, and in any case those that precede it in the stream."""

    def __init__(self, generation: int) -> None:
        self.generation = generation
        self.failures = 0
        self._success_at = float("-inf")

    def add(self, run: Run, at: float) -> None:
        if not run.failed:
            self.failures = 0
            self._success_at = max(self._success_at, at)
        elif at > self._success_at + UNSURE:
            self.failures += run.count


class _OnlyNewer(dict[str, Transition]):
    """The latest transitions by circuit, which only newer ones may replace."""

    def __init__(self, world: World, host: SimulatedHost) -> None:
        super().__init__()
        self._require = world.require
        self._host = host

    def __setitem__(self, name: str, transition: Transition) -> None:
        known = self.get(name)
        self._require(
            known is None or transition.order > known.order,
            f"{self._host} went back with {name}",
        )
        super().__setitem__(name, transition)
