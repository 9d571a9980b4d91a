"""What a leader writes down of results, and finds again."""

import pytest

from tests.contract.stores import Store, lead, me
from zenvark_web import Backend
from zenvark_web._core.order import Position
from zenvark_web._core.states import CircuitSnapshot, TrialResults, WindowSnapshot
from zenvark_web.backends.base import Account, Checkpoint

ACCOUNTS = {"web-1": Account(1, 5, 30, 2), "web-2": Account(3, 4)}
SNAPSHOTS = {
    "payments": CircuitSnapshot(
        4,
        Position(8, 1),
        WindowSnapshot("ConsecutiveFailures(5.0)", "[null,[]]", (("web-1", "HTTP 503", 2),), 8.25),
    ),
    "trying": CircuitSnapshot(7, Position(7), trial=TrialResults(1, 2, {"HTTP 500": 2})),
    "held": CircuitSnapshot(1, Position(7, 3), retry_after_until=1234.567),
    "told by its own strategy": CircuitSnapshot(2, Position(7), WindowSnapshot("Mine", None)),
}


async def test_there_is_none_at_first(backend: Backend) -> None:
    assert (await backend.load(leading=True)).checkpoint == Checkpoint()


async def test_whoever_leads_next_finds_what_was_written(store: Store) -> None:
    first, second = store.open(), store.open()
    beat = await lead(first)
    await first.checkpoint(beat, Checkpoint(Position(7), ACCOUNTS, SNAPSHOTS))
    await first.resign(beat.holder)
    await lead(second, "web-2")
    snapshot = await second.load(leading=True)
    assert snapshot.checkpoint == Checkpoint(Position(7), ACCOUNTS, SNAPSHOTS)
    assert snapshot.malformed == ()


async def test_whoever_follows_is_not_bothered_with_it(backend: Backend) -> None:
    beat = await lead(backend)
    await backend.checkpoint(beat, Checkpoint(Position(7), ACCOUNTS, SNAPSHOTS))
    assert (await backend.load()).checkpoint == Checkpoint()


async def test_what_has_not_changed_stays(backend: Backend) -> None:
    beat = await lead(backend)
    await backend.checkpoint(beat, Checkpoint(Position(7), ACCOUNTS, SNAPSHOTS))
    changed = {"trying": CircuitSnapshot(8)}
    accounts = {"web-2": Account(3, 9, 5)}
    await backend.checkpoint(
        beat, Checkpoint(Position(9), accounts, changed, {"held", "never there"})
    )
    snapshots = {**SNAPSHOTS, "trying": CircuitSnapshot(8)}
    del snapshots["held"]
    checkpoint = (await backend.load(leading=True)).checkpoint
    assert checkpoint == Checkpoint(Position(9), {**ACCOUNTS, **accounts}, snapshots)


async def test_nothing_new_but_the_position(backend: Backend) -> None:
    beat = await lead(backend)
    await backend.checkpoint(beat, Checkpoint(Position(7)))
    await backend.checkpoint(beat, Checkpoint(Position(6)))  # the stream has begun anew
    assert (await backend.load(leading=True)).checkpoint == Checkpoint(Position(6))


@pytest.mark.parametrize("number", [5_000])
async def test_very_many_circuits(backend: Backend, number: int) -> None:
    beat = await lead(backend)
    accounts = {f"web-{n}": Account(1, n + 1) for n in range(number)}
    snapshots = {
        f"c{n}": CircuitSnapshot(n, Position(n, 1), WindowSnapshot("s", "w")) for n in range(number)
    }
    await backend.checkpoint(beat, Checkpoint(Position(7), accounts, snapshots))
    assert (await backend.load(leading=True)).checkpoint == Checkpoint(
        Position(7), accounts, snapshots
    )


async def test_instance_is_told_its_account(backend: Backend) -> None:
    beat = await lead(backend)
    await backend.checkpoint(beat, Checkpoint(Position(7), ACCOUNTS, SNAPSHOTS))
    news = (await backend.heartbeat(me("web-2"), 30, 0)).news
    assert news is not None
    assert news.account == ACCOUNTS["web-2"]
