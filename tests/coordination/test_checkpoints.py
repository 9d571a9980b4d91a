"""Where a new leader begins: at what the last one wrote down, if that can be taken up."""

import asyncio
import time
from collections.abc import AsyncIterator, Collection, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import Any

import pytest

from tests.helpers.inside import leader_of, reader_of, shard_of, state_of, store_of
from tests.helpers.waiting import eventually
from zenvark_web import (
    BackendError,
    BreakerPolicy,
    ConsecutiveFailures,
    ConstantBackoff,
    Coordinator,
    CountWindow,
    MemoryBackend,
    Override,
    OverrideRecord,
    State,
    Strategy,
    TimeWindow,
    Trip,
)
from zenvark_web._coordination.election import presence_of
from zenvark_web._core.order import Lease, Position
from zenvark_web._core.states import Report, Run, Transition
from zenvark_web._judging import checkpoints
from zenvark_web._judging import leader as leading
from zenvark_web._judging.checkpoints import Checkpointer
from zenvark_web.backends.base import (
    START,
    Account,
    Batch,
    Checkpoint,
    ResultEntry,
    Snapshot,
    StreamEntry,
)

THRESHOLD = 5
BUILT_IN = [
    ConsecutiveFailures(THRESHOLD),
    CountWindow(10, 0.9, THRESHOLD),
    TimeWindow(60, 0.9, THRESHOLD),
]


@pytest.fixture(autouse=True)
def often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(leading, "TIDY_INTERVAL", 0.02)


class Store(MemoryBackend):
    """Knows from where results were read and what was written down, and can be told to fail."""

    def __init__(self) -> None:
        self.ahead = 0.0
        super().__init__(lambda: time.monotonic() + self.ahead)
        self.read_from: list[Position] = []
        self.markers = 0
        self.publishes = True
        self.writes = True
        self.reads = True
        self.written = self.expiries = 0

    async def read(
        self, states: Position, results: Position | None, wait: float
    ) -> Sequence[StreamEntry]:
        if results is not None:
            self.read_from.append(results)
            results = results if self.reads else None
        return await super().read(states, results, wait)

    async def publish(self, lease: Lease, *transitions: Transition) -> bool:
        if not self.publishes:
            raise BackendError("not now")
        return await super().publish(lease, *transitions)

    async def checkpoint(self, lease: Lease, checkpoint: Checkpoint) -> None:
        if not self.writes:
            raise BackendError("not now")
        await super().checkpoint(lease, checkpoint)
        self.written += 1

    async def expire_overrides(self, lease: Lease, ended: Collection[OverrideRecord]) -> None:
        self.expiries += 1
        raise BackendError("the audit is not writable")

    async def kept(self) -> Snapshot:
        return await self.load(leading=True)

    async def results_of(self, circuit: str) -> ResultEntry:
        entries = [
            entry for entry in await self.read(START, START, 0) if isinstance(entry, ResultEntry)
        ]
        batches = [(entry, entry.item) for entry in entries if isinstance(entry.item, Batch)]
        return next(entry for entry, item in batches if item.reports[0].circuit == circuit)

    async def is_written_down(self) -> None:
        """Wait until what stands in the stream is in the checkpoint."""
        await eventually(self._is_written_down, what="a checkpoint")

    async def _is_written_down(self) -> bool:
        snapshot = await self.kept()
        return snapshot.checkpoint.position == snapshot.results


@dataclass
class Sender:
    """An instance of its own, as the store sees it."""

    store: Store
    name: str = "elsewhere"
    number: int = 0

    async def send(self, *reports: Report) -> None:
        self.number += 1
        await self.again(*reports)

    async def again(self, *reports: Report) -> None:
        now = (await self.store.load()).now
        await self.store.append(Batch(self.name, self.number, now, reports))

    async def fail(self, count: int, circuit: str = "upstream") -> None:
        await self.send(failures(count, circuit))


def failures(count: int, circuit: str = "upstream", generation: int = 0) -> Report:
    run = Run(generation, failed=True, slow=False, count=count, label="boom")
    return Report(circuit, (run,), generation=generation)


@asynccontextmanager
async def leader(
    store: Store, strategy: Strategy = BUILT_IN[0], **more: Any
) -> AsyncIterator[Coordinator]:
    policy = BreakerPolicy(strategy=strategy, backoff=ConstantBackoff(600))
    store.read_from.clear()
    async with Coordinator(store, policy=policy, **more) as coordinator:
        await eventually(lambda: coordinator.role == "leader", what="it leads")
        yield coordinator


async def opens(coordinator: Coordinator, circuit: str = "upstream") -> None:
    breaker = coordinator.breaker(circuit)
    await eventually(lambda: breaker.state is State.OPEN, what=f"{circuit} opens")


async def judged(coordinator: Coordinator, store: Store) -> None:
    """Wait until everything written so far has been judged."""
    store.markers += 1
    marker = f"marker {store.markers}"
    await Sender(store, marker).fail(100, marker)
    await opens(coordinator, marker)


@pytest.mark.parametrize("strategy", BUILT_IN, ids=repr)
async def test_failures_on_both_sides_of_a_takeover_open_together(strategy: Strategy) -> None:
    store = Store()
    sender = Sender(store)
    for _ in range(THRESHOLD - 1):
        async with leader(store, strategy) as coordinator:
            await sender.fail(1)
            await judged(coordinator, store)
            await store.is_written_down()
            assert coordinator.breaker("upstream").state is State.CLOSED
            position = (await store.kept()).results
        store_of(store)._results.trim(float("inf"))  # nobody needs them any more
    async with leader(store, strategy) as coordinator:
        await judged(coordinator, store)
        assert START not in store.read_from
        assert store.read_from[0] >= position
        await sender.fail(1)
        await opens(coordinator)


async def test_what_came_after_the_checkpoint_is_read_again() -> None:
    store = Store()
    sender = Sender(store)
    async with leader(store) as coordinator:
        await sender.fail(2)
        await judged(coordinator, store)
        await store.is_written_down()
        store.writes = False
        await sender.fail(2)
        await judged(coordinator, store)
    store.writes = True
    async with leader(store) as coordinator:
        await judged(coordinator, store)
        assert coordinator.breaker("upstream").state is State.CLOSED, "none counts twice"
        await sender.fail(1)
        await opens(coordinator)


@pytest.mark.parametrize("back", [0.5, 3600.0])
async def test_what_came_after_the_checkpoint_counts_after_it_though_the_clock_was_set_back(
    back: float,
) -> None:
    """The last leader's own seconds are ahead of the stream's time stamps, and its successor must
    not take the failures for older than the success that they follow."""
    store = Store()
    sender = Sender(store)
    async with leader(store) as coordinator:
        clock = shard_of(coordinator).clock
        offset = clock.offset
        store.ahead -= back
        await eventually(lambda: clock.offset < offset - back / 2, what="it knows the new time")
        await sender.send(Report("upstream", (Run(0, failed=False, slow=False, count=1),)))
        await judged(coordinator, store)
        await store.is_written_down()
        store.writes = False
        await sender.fail(THRESHOLD - 1)
        await judged(coordinator, store)
    store.writes = True
    async with leader(store) as coordinator:
        await judged(coordinator, store)
        assert coordinator.breaker("upstream").state is State.CLOSED
        await sender.fail(1)
        await opens(coordinator)


async def test_a_batch_that_is_sent_again_to_the_next_leader_counts_once() -> None:
    store = Store()
    sender = Sender(store)
    async with leader(store) as coordinator:
        await sender.fail(4)
        await judged(coordinator, store)
        await store.is_written_down()
    async with leader(store) as coordinator:
        await sender.again(failures(4))
        await judged(coordinator, store)
        assert coordinator.breaker("upstream").state is State.CLOSED
        await sender.fail(1)
        await opens(coordinator)


async def test_results_are_not_passed_over_before_their_verdict_is_published() -> None:
    store = Store()
    sender = Sender(store)
    errors: list[Exception] = []
    async with leader(store, on_error=errors.append) as coordinator:
        await sender.fail(4)
        await judged(coordinator, store)
        await store.is_written_down()
        written = (await store.kept()).checkpoint
        store.publishes = False
        await sender.fail(1)
        await eventually(lambda: errors, what="the verdict cannot be published")
        await asyncio.sleep(0.2)  # ten times as long as it takes to write one down
        assert (await store.kept()).checkpoint == written
    store.publishes = True
    async with leader(store) as coordinator:
        await opens(coordinator)


async def test_a_changed_strategy_counts_from_the_beginning() -> None:
    store = Store()
    sender = Sender(store)
    async with leader(store) as coordinator:
        await sender.fail(3)
        await sender.fail(3, "same")
        await judged(coordinator, store)
        await store.is_written_down()
    changed = BreakerPolicy(strategy=ConsecutiveFailures(4))
    async with leader(store, policies={"upstream": changed}) as coordinator:
        await judged(coordinator, store)
        assert START in store.read_from
        await sender.fail(1, "same")
        await judged(coordinator, store)
        assert coordinator.breaker("same").state is State.CLOSED, "none counts twice"
        await sender.fail(1)
        await opens(coordinator)
        await sender.fail(1, "same")
        await opens(coordinator, "same")


class Threshold:
    """A user's strategy, which does not save its windows."""

    def window(self) -> "Threshold":
        window = type(self)()
        window.failures = 0
        return window

    def record(self, failed: bool, slow: bool, count: int, now: float) -> Trip | None:
        self.failures += failed * count
        if self.failures < THRESHOLD:
            return None
        return Trip(count, self.failures, self.failures, 0)


class Saving(Threshold):
    """One that does."""

    def save(self) -> str:
        return str(self.failures)

    def restore(self, saved: str) -> None:
        self.failures = int(saved)


class Forgetful(Saving):
    def restore(self, saved: str) -> None:
        raise RuntimeError("what was it?")


class Shy(Saving):
    def save(self) -> str:
        raise RuntimeError("no words")


@pytest.mark.parametrize(
    ("strategy", "told"),
    [(Threshold(), ""), (Saving(), ""), (Forgetful(), "what was it"), (Shy(), "no words")],
    ids=lambda value: type(value).__name__ if not isinstance(value, str) else "",
)
async def test_strategies_of_users_lose_nothing(strategy: Strategy, told: str) -> None:
    store = Store()
    sender = Sender(store)
    errors: list[Exception] = []
    own = {"own": BreakerPolicy(strategy=strategy)}
    for number in range(3):
        async with leader(store, policies=own, on_error=errors.append) as coordinator:
            await sender.send(failures(1, "own"), failures(1))
            await judged(coordinator, store)
            await store.is_written_down()
            if number:
                assert (START in store.read_from) == (type(strategy) is not Saving)
    async with leader(store, policies=own, on_error=errors.append) as coordinator:
        await sender.send(failures(1, "own"), failures(1))
        await judged(coordinator, store)
        assert coordinator.breaker("own").state is State.CLOSED
        assert coordinator.breaker("upstream").state is State.CLOSED
        await sender.send(failures(1, "own"), failures(1))
        await opens(coordinator, "own")
        await opens(coordinator)
    assert all(told in str(error) for error in errors)
    assert bool(errors) == bool(told)


async def test_what_the_store_has_lost_is_written_again() -> None:
    """It came back with an older copy, and the leader has not even noticed."""
    store = Store()
    sender = Sender(store)
    async with leader(store) as coordinator:
        await sender.fail(4)
        await judged(coordinator, store)
        await store.is_written_down()
        before = (await store.kept()).checkpoint
        store_of(store)._snapshots.clear()
        store_of(store)._accounts.clear()
        store_of(store)._checkpoint = START
        reader_of(coordinator).refresh()
        await sender.fail(1, "other")
        await store.is_written_down()
        after = (await store.kept()).checkpoint
        assert after.snapshots["upstream"].window == before.snapshots["upstream"].window
        assert after.accounts.keys() >= before.accounts.keys()


async def test_tallies_that_are_lost_alone_are_counted_anew() -> None:
    """The accounts still say that their results were seen."""
    store = Store()
    sender = Sender(store)
    async with leader(store) as coordinator:
        await sender.fail(4)
        await judged(coordinator, store)
        await store.is_written_down()
    store_of(store)._snapshots.clear()
    store_of(store)._checkpoint = START
    for _ in range(2):
        async with leader(store) as coordinator:
            await judged(coordinator, store)
            await store.is_written_down()
    async with leader(store) as coordinator:
        await sender.fail(1)
        await opens(coordinator)


async def test_a_leader_that_never_gets_to_the_end_gets_on(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its successor does not begin at the beginning again."""
    store = Store()
    await store.append(Batch("elsewhere", 1, 2e9, (failures(4),)))
    middle = (await store.kept()).results
    await store.append(Batch("elsewhere", 2, 2e9, (failures(1),)))
    take = Checkpointer.accept

    def stuck(self: Checkpointer, entry: ResultEntry) -> Iterator[tuple[str, Report, bool]]:
        return iter(()) if entry.position != middle else take(self, entry)

    with monkeypatch.context() as patch:
        patch.setattr(Checkpointer, "accept", stuck)
        async with leader(store):
            await eventually(lambda: store_of(store)._checkpoint == middle, what="a checkpoint")
    async with leader(store) as coordinator:
        await opens(coordinator)
        assert START not in store.read_from


async def test_what_was_taken_up_may_go_further_than_what_was_read_since() -> None:
    """A circuit that is written again says how far it goes, or some would count twice."""
    store = Store()
    sender = Sender(store)
    async with leader(store) as coordinator:
        await sender.fail(1, "first")
        await sender.fail(3)
        await judged(coordinator, store)
        await store.is_written_down()
        first = (await store.results_of("first")).position
    store_of(store)._checkpoint = first  # as if the tally had been taken a moment later
    store_of(store)._accounts[sender.name] = Account(1, 1, 1)
    store.reads = False
    async with leader(store) as coordinator:
        leader_of(coordinator)._checkpointer._changed.add("upstream")
        await eventually(lambda: store.written > 1, what="a checkpoint")
        assert (await store.kept()).checkpoint.position == first
    store.reads = True
    async with leader(store) as coordinator:
        await judged(coordinator, store)
        await sender.fail(1)
        await judged(coordinator, store)
        assert coordinator.breaker("upstream").state is State.CLOSED
        await sender.fail(1)
        await opens(coordinator)


async def test_a_stream_that_has_begun_anew_is_read_from_its_beginning() -> None:
    store = Store()
    sender = Sender(store)
    async with leader(store) as coordinator:
        await sender.fail(4)
        await judged(coordinator, store)
        await store.is_written_down()
    store_of(store)._checkpoint = Position(999999999999999)
    async with leader(store) as coordinator:
        await sender.fail(1)
        await opens(coordinator)
        await store.is_written_down()


async def test_nothing_is_kept_of_circuits_that_are_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    store = Store()
    sender = Sender(store)
    async with leader(store, max_breakers=10) as coordinator:
        for number in range(50):
            await sender.fail(1, f"host {number}")
            if number % 5 == 0:
                await judged(coordinator, store)
                await store.is_written_down()
        await judged(coordinator, store)
        await store.is_written_down()
        assert len((await store.kept()).checkpoint.snapshots) <= 10
        await sender.fail(100)
        await opens(coordinator)
        await store.is_written_down()
        assert "upstream" not in (await store.kept()).checkpoint.snapshots


async def test_a_tally_of_an_earlier_generation_goes() -> None:
    store = Store()
    sender = Sender(store)
    async with leader(store) as coordinator:
        await sender.fail(1)
        await judged(coordinator, store)
        await store.is_written_down()
        stale = (await store.kept()).checkpoint.snapshots["upstream"]
        await sender.fail(4)
        await opens(coordinator)
        await store.is_written_down()
        old = {"upstream": replace(stale, generation=0)}
        beat = await store.heartbeat(presence_of(state_of(coordinator).instance), 5, 0)
        position = (await store.kept()).checkpoint.position
        await store.checkpoint(beat.lease, Checkpoint(position, {}, old))
    async with leader(store) as coordinator:
        await judged(coordinator, store)
        assert coordinator.breaker("upstream").generation == 1
        await store.is_written_down()
        assert "upstream" not in (await store.kept()).checkpoint.snapshots


async def test_a_leader_that_always_has_something_to_publish_writes_checkpoints() -> None:
    """It waited until all was published, so under load its successor began from nothing."""

    class Slow(Store):
        async def publish(self, lease: Lease, *transitions: Transition) -> bool:
            await asyncio.sleep(0.05)
            return await super().publish(lease, *transitions)

    store = Slow()
    sender = Sender(store)

    async def flood() -> None:
        for number in range(1_000_000):
            await sender.send(*(failures(THRESHOLD, f"stranger-{number}-{n}") for n in range(10)))
            await asyncio.sleep(0.01)

    async with leader(store):
        flooding = asyncio.create_task(flood())
        await eventually(lambda: store.written >= 3, what="checkpoints, one after another")
        flooding.cancel()
        await asyncio.gather(flooding, return_exceptions=True)
    assert (await store.kept()).checkpoint.position != START


async def test_the_tallies_of_very_many_circuits_are_written_in_parts(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(checkpoints, "LARGEST_PART", 10)
    store = Store()
    names = [f"circuit-{number}" for number in range(35)]
    async with leader(store):
        await Sender(store).send(*(failures(THRESHOLD - 1, name) for name in names))
        await store.is_written_down()
    kept = await store.kept()
    assert kept.checkpoint.snapshots.keys() == set(names)
    assert kept.checkpoint.accounts["elsewhere"].evaluated == (THRESHOLD - 1) * len(names)
    assert store.written >= 4
    async with leader(store) as second:
        await Sender(store, "another").send(*(failures(1, name) for name in names))
        for name in names:
            await opens(second, name)


async def test_checkpoints_are_written_though_overrides_cannot_be_removed() -> None:
    store = Store()
    async with leader(store) as coordinator:
        await coordinator.override("payments", Override.OBSERVE, reason="a test")
        await eventually(lambda: store.expiries > 1, what="attempts to remove it")
        await Sender(store).fail(1)
        await store.is_written_down()
