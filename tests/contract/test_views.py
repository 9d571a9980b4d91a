"""The view of a store for operators: it shows what instances have written, and writes nothing."""

from dataclasses import replace

import pytest

from tests.contract.stores import RedisStore, Store, batch, lead, me, publish, transition
from zenvark_web import Backend, State
from zenvark_web._core.order import START
from zenvark_web._core.states import (
    CircuitSnapshot,
    Protection,
    Report,
    Run,
    Suspicion,
    Transition,
)
from zenvark_web.backends import inspection
from zenvark_web.backends.base import Batch, Checkpoint, LeaderChange
from zenvark_web.backends.views import StoreView, Viewable, protections


@pytest.fixture
def view(backend: Backend) -> StoreView:
    assert isinstance(backend, Viewable)
    return backend.view()


async def test_survey_of_an_empty_store(view: StoreView) -> None:
    survey = await view.survey(START, names=True)
    assert survey.lease is None
    assert survey.instances == survey.news == ()
    assert survey.newest == START
    assert survey.called == frozenset()


async def test_survey_shows_the_lease_and_the_instances(store: Store, view: StoreView) -> None:
    lease = await lead(store.open())
    await store.open().heartbeat(me("web-2"), 30, 0)
    survey = await view.survey(START, names=False)
    assert survey.lease == lease
    assert [(each.name, each.role) for each in survey.instances] == [
        ("web-1", "leader"),
        ("web-2", "follower"),
    ]
    assert all(each.is_alive and each.version == "1.2.3" for each in survey.instances)
    assert survey.called is None


async def test_survey_shows_new_entries_once(backend: Backend, view: StoreView) -> None:
    lease = await lead(backend)
    first = await view.survey(START, names=False)
    assert [entry.item for entry in first.news] == [LeaderChange(lease.epoch, "web-1")]
    opened = transition(lease)
    await publish(backend, opened)
    second = await view.survey(first.newest, names=False)
    assert [entry.item for entry in second.news] == [opened]
    assert second.newest == second.news[-1].position
    assert (await view.survey(second.newest, names=False)).news == ()


async def test_survey_names_called_circuits(backend: Backend, view: StoreView) -> None:
    lease = await lead(backend)
    snapshots = {"payments": CircuitSnapshot(0), "search": CircuitSnapshot(0)}
    await backend.checkpoint(lease, Checkpoint(snapshots=snapshots))
    assert (await view.survey(START, names=True)).called == {"payments", "search"}


async def test_entries_come_in_pages(backend: Backend, view: StoreView) -> None:
    lease = await lead(backend)
    changes = [transition(lease, circuit=f"circuit {number}") for number in range(300)]
    await publish(backend, *changes)
    first = await view.entries(START, 251)
    assert [entry.item for entry in first[1:]] == changes[:250]
    rest = await view.entries(first[-1].position, 500)
    assert [entry.item for entry in rest] == changes[250:]
    last = await view.entries(None, 260)
    assert [entry.item for entry in last] == changes[40:]


async def test_circuit_with_its_reports_and_its_past(backend: Backend, view: StoreView) -> None:
    lease = await lead(backend)
    past = [
        transition(lease, number, state=state, previous=previous)
        for number, previous, state in (
            (1, State.CLOSED, State.OPEN),
            (2, State.OPEN, State.HALF_OPEN),
            (3, State.HALF_OPEN, State.OPEN),
        )
    ]
    for each in past:
        await publish(backend, each)
    now = (await view.survey(START, names=False)).now
    runs = (Run(3, failed=True, slow=False, count=4, label="HTTP 503"),)
    await backend.append(Batch("web-1", 1, now, (Report("payments", runs, blocked=2),)))
    found = await view.circuit("payments", 5, 2)
    assert found.shard == 5
    assert found.current == past[-1]
    assert found.history == tuple(past[:0:-1])
    assert (found.recent.calls, found.recent.failed, found.recent.blocked) == (4, 4, 2)
    assert found.since is not None
    assert (found.since.transition, found.since.exact) == (past[0], True)
    assert (await view.openings({"payments": past[-1]}))["payments"] == found.since


async def test_unknown_circuit(view: StoreView) -> None:
    assert not (await view.circuit("never called", 0, 10)).is_known


async def test_openings_that_are_not_stored_any_more(view: StoreView) -> None:
    lost = Transition(circuit="payments", generation=9, previous=State.HALF_OPEN, state=State.OPEN)
    [since] = (await view.openings({"payments": lost})).values()
    assert (since.transition, since.exact) == (lost, False)


async def test_policies(backend: Backend, view: StoreView) -> None:
    assert await view.policies() == {}
    await backend.describe({"f00d": "(default): attempts=1"})
    assert await view.policies() == {"f00d": "(default): attempts=1"}


async def test_survey_shows_suspects(backend: Backend, view: StoreView) -> None:
    lease = await lead(backend)
    now = (await view.survey(START, names=False)).now
    suspicion = Suspicion("web-2", 5, 0, 5, now, now + 600, 30)
    snapshots = {"payments": CircuitSnapshot(0, suspects=(suspicion,)), "mail": CircuitSnapshot(0)}
    snapshots |= {f"circuit {number}": CircuitSnapshot(0) for number in range(250)}
    await backend.checkpoint(lease, Checkpoint(snapshots=snapshots))
    assert [name for name, _ in (await view.survey(START, names=True)).suspects] == ["payments"]


async def test_own_protection_of_living_instances(backend: Backend, view: StoreView) -> None:
    now = (await view.survey(START, names=False)).now
    earlier = Protection("mail", State.HALF_OPEN, now - 60.0, "5 of 5 calls failed")
    newest = Protection("payments", State.OPEN, now - 1.0, "boom", {"ConnectError": 5})
    await backend.heartbeat(replace(me("web-1"), protects=(earlier, newest)), 30, 0)
    await backend.heartbeat(me("web-2"), 30, 0)
    first, second = (await view.survey(START, names=False)).instances
    assert [(each.circuit, each.state) for each in first.protects] == [
        ("mail", State.HALF_OPEN),
        ("payments", State.OPEN),
    ]
    assert second.protects == ()
    assert [each.circuit for _, each in protections((first, second))] == ["payments", "mail"]
    assert protections([replace(first, silence=100.0)]) == ()
    [(who, protection)] = (await view.circuit("payments", 0, 1)).protections
    assert (who, protection.detail, protection.failures) == ("web-1", "boom", {"ConnectError": 5})
    assert (await view.circuit("search", 0, 1)).protections == ()


async def test_results_are_counted_for_a_limited_time(
    redis_store: RedisStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And the reader is told for how long they were."""
    monkeypatch.setattr(inspection, "PAGE", 2)
    monkeypatch.setattr(inspection, "LONGEST_COUNT", 0.0)
    backend = redis_store.open()
    for number in range(1, 6):
        await backend.append(batch(number))
    assert isinstance(backend, Viewable)
    recent = (await backend.view().circuit("payments", 0, 1)).recent
    assert recent.calls == 2
    assert recent.span < 60
