"""What newer versions write into the namespace of this one, and what the leader leaves to them."""

import asyncio
import json
import logging
from contextlib import suppress

import pytest

from tests.helpers.inside import store_of
from tests.helpers.instances import make_instance
from tests.helpers.waiting import eventually
from zenvark_web import (
    BreakerPolicy,
    CircuitOpenError,
    ConsecutiveFailures,
    ConstantBackoff,
    Coordinator,
    MalformedEntryError,
    MemoryBackend,
    Override,
    State,
)
from zenvark_web._core.capabilities import ALL, Capability
from zenvark_web._core.states import Cause, Reason, Report, Run, Transition
from zenvark_web._judging import leader
from zenvark_web._judging.capabilities import NAMED, SharedCapabilities
from zenvark_web.backends._encoding import encode_batch, encode_transition
from zenvark_web.backends.base import Batch, Presence

POLICY = BreakerPolicy(strategy=ConsecutiveFailures(3), backoff=ConstantBackoff(30))
RAMPS = BreakerPolicy(
    strategy=ConsecutiveFailures(3), backoff=ConstantBackoff(0.1), ramp=(0.5,), ramp_step=0.5
)


def transition(generation: int, **more: object) -> str:
    opened = Transition(
        circuit="payments",
        generation=generation,
        state=State.OPEN,
        at=1.0,
        delay=3600.0,
        reason=Reason(cause=Cause.TRIPPED),
        epoch=1,
        leader="web-9",
    )
    return json.dumps({**json.loads(encode_transition(opened)), **more})


def add(store: MemoryBackend, stream: str, **fields: str) -> None:
    """An entry as another version may write it."""
    inside = store_of(store)
    {"states": inside._states, "results": inside._results}[stream].add(fields)
    store._wake_reads()


async def test_unknown_entries_are_counted_and_each_kind_is_told_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    store, errors = MemoryBackend(), []
    async with Coordinator(store, policy=POLICY, on_error=errors.append) as coordinator:
        with caplog.at_level(logging.WARNING, "zenvark_web"):
            for kind in ("weather", "weather", "tide"):
                add(store, "states", v="1", **{kind: "x"})
            add(store, "states", transition=transition(1))
            await eventually(lambda: coordinator.breaker("payments").state is State.OPEN)
    assert coordinator.statistics.unknown_entries == 3
    told = [vars(record) for record in caplog.records]
    kinds = [each["zenvark_detail"] for each in told if each["zenvark_event"] == "unknown_entry"]
    assert kinds == ["weather", "tide"]
    assert errors == []


async def test_a_circuit_stays_in_its_state_while_it_is_in_an_unknown_one(
    caplog: pytest.LogCaptureFixture,
) -> None:
    store = MemoryBackend()
    async with Coordinator(store, policy=POLICY) as coordinator:
        breaker = coordinator.breaker("payments")
        add(store, "states", transition=transition(1))
        await eventually(lambda: breaker.state is State.OPEN)
        add(store, "states", transition=transition(2, state="brown", delay=0))
        await eventually(lambda: breaker.generation == 2)
        assert breaker.state is State.OPEN
        assert coordinator.statistics.unknown_entries == 1
        add(store, "states", transition=transition(3, state="brown", **{"as": "closed"}))
        await eventually(lambda: breaker.generation == 3)
        assert breaker.state is State.CLOSED
        assert coordinator.statistics.unknown_entries == 1
    assert "the state brown" in caplog.text


async def test_an_unreadable_report_costs_no_other_and_is_told() -> None:
    store, errors = MemoryBackend(), []
    failures = (Run(0, failed=True, slow=False, count=3, label="boom"),)
    reports = tuple(Report(name, failures) for name in ("one", "bad", "worse", "two"))
    async with Coordinator(store, policy=POLICY, on_error=errors.append) as coordinator:
        await eventually(lambda: coordinator.role == "leader")
        entry = encode_batch(Batch("web-9", 1, (await store.load()).now, reports))
        packed = json.loads(entry["reports"])
        packed[1][1][0][2] = "a kind that nobody knows"
        packed[2] = None
        add(store, "results", **{**entry, "reports": json.dumps(packed)})
        for name in ("one", "two"):
            breaker = coordinator.breaker(name)
            await eventually(lambda breaker=breaker: breaker.state is State.OPEN)
        assert coordinator.breaker("bad").state is State.CLOSED
    [error] = errors
    assert isinstance(error, MalformedEntryError)
    assert "a kind that nobody knows" in str(error)
    assert "and 1 more" in str(error)


class TestCapabilities:
    """The leader begins nothing that a present instance would misread."""

    def test_are_those_of_all(self, caplog: pytest.LogCaptureFixture) -> None:
        shared = SharedCapabilities(make_instance().notifier)
        newer, older = Presence("newer", can=frozenset({Capability.RAMP})), Presence("older")
        assert not shared.allow(Capability.RAMP), "nobody has looked who is present"
        shared.note_present([newer, older])
        assert [shared.allow(Capability.RAMP) for _ in range(3)] == [False] * 3
        shared.note_present([newer])
        assert shared.allow(Capability.RAMP)
        shared.note_present([newer, older])
        assert not shared.allow(Capability.RAMP)
        told = [vars(record) for record in caplog.records]
        assert [each["zenvark_event"] for each in told] == ["held_up"] * 2
        assert {each["zenvark_detail"] for each in told} == {"ramp: older"}

    def test_nothing_holds_an_override_up_but_those_who_ignore_it_are_named(
        self, caplog: pytest.LogCaptureFixture
    ) -> None:
        shared = SharedCapabilities(make_instance().notifier)
        newer, older = Presence("newer", can=ALL), Presence("older")
        for present in ([newer], [newer, older], [older, newer], [newer], [older]):
            shared.note_present(present)
            shared.warn_of_ignored_overrides()
        told = [vars(record) for record in caplog.records]
        assert [(each["zenvark_event"], each["zenvark_detail"]) for each in told] == [
            ("overrides_ignored", "older")
        ] * 2

    async def test_a_leader_names_them(
        self, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(leader, "TIDY_INTERVAL", 0.02)
        backend = MemoryBackend()
        await backend.heartbeat(Presence("older"), 0.001, 0)
        async with Coordinator(backend) as coordinator:
            await coordinator.override("payments", Override.OBSERVE, reason="a test")
            await eventually(lambda: "these instances ignore" in caplog.text)
        assert "run an older version: older." in caplog.text

    @pytest.mark.parametrize("held_up", [False, True])
    async def test_the_leader_begins_no_ramp_that_somebody_cannot_read(
        self, held_up: bool, caplog: pytest.LogCaptureFixture
    ) -> None:
        store, changes = MemoryBackend(), []
        if held_up:
            await store.heartbeat(Presence("older"), 0.01, 0)
        async with Coordinator(store, policy=RAMPS, on_state_change=changes.append) as coordinator:
            breaker = coordinator.breaker("payments")
            while not changes:
                with suppress(CircuitOpenError):
                    breaker.acquire().raised(ConnectionError())
                await asyncio.sleep(0.01)

            def recovered() -> bool:
                with suppress(CircuitOpenError):
                    breaker.acquire().returned(None)
                return changes[-1].state is State.CLOSED

            await eventually(recovered, what="the circuit is closed again")
        assert (Cause.RAMP_PASSED in {change.reason.cause for change in changes}) is not held_up
        assert ("without ramp, because these instances" in caplog.text) is held_up

    def test_some_of_very_many_are_named(self, caplog: pytest.LogCaptureFixture) -> None:
        shared = SharedCapabilities(make_instance().notifier)
        shared.note_present([Presence(f"web-{number}") for number in range(NAMED + 5)])
        assert not shared.allow(Capability.RAMP)
        assert f"web-{NAMED - 1} and 5 more" in caplog.text

    async def test_every_instance_lists_those_of_its_version(self) -> None:
        store = MemoryBackend()
        async with Coordinator(store), Coordinator(store):
            present = await store.tidy(600, 600)
        assert [presence.can for presence in present] == [ALL, ALL]
