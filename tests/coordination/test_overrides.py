"""What calls meet under an override, in every form, and what becomes of the verdict underneath.

The fleets run in virtual time: an hour takes a moment, and nothing depends on the host's load.
"""

import asyncio
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace

import httpx
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route
from starlette.testclient import TestClient

from tests.helpers.waiting import eventually
from zenvark_web import (
    BackendError,
    Breaker,
    BreakerMiddleware,
    BreakerPolicy,
    BreakerStatus,
    BreakerTransport,
    Cause,
    CircuitOpenError,
    ConsecutiveFailures,
    ConstantBackoff,
    Coordinator,
    MemoryBackend,
    Outcome,
    Override,
    OverrideChange,
    OverrideConflictError,
    Permit,
    ProtectedRoute,
    State,
    StateChange,
)
from zenvark_web._core.patterns import NamePatterns
from zenvark_web.testing import Fleet

POLICY = BreakerPolicy(strategy=ConsecutiveFailures(3), backoff=ConstantBackoff(10))
RAMP = replace(POLICY, ramp=(0.5,), ramp_step=10)
REASON = "the supplier is down"
MODES = (Override.FORCE_CLOSED, Override.OBSERVE)


@pytest.fixture
def fleet() -> Iterator[Fleet]:
    with Fleet(policy=POLICY) as fleet:
        yield fleet


def force(
    fleet: Fleet,
    coordinator: Coordinator,
    mode: Override | None = Override.FORCE_OPEN,
    circuit: str = "payments",
    expires_in: float | None = 3600.0,
) -> None:
    """Set an override, and let all instances hear of it."""
    coordinator.override_sync(circuit, mode, reason=REASON, actor="ops", expires_in=expires_in)
    fleet.advance()


def passes(breaker: Breaker) -> bool:
    with suppress(CircuitOpenError):
        breaker.acquire().record(Outcome.SUCCESS)
        return True
    return False


def fails(breaker: Breaker) -> None:
    breaker.acquire().record(Outcome.FAILURE, "boom", retry_after=900.0)


# Every form of a call


async def execute(breaker: Breaker) -> None:
    async def work() -> None:
        pass

    await breaker.execute(work)


async def execute_sync(breaker: Breaker) -> None:
    breaker.execute_sync(lambda: None)


async def guard(breaker: Breaker) -> None:
    async with breaker.guard():
        pass


async def guard_sync(breaker: Breaker) -> None:
    with breaker.guard():
        pass


async def decorated(breaker: Breaker) -> None:
    @breaker
    async def work() -> None:
        pass

    await work()


async def acquire(breaker: Breaker) -> None:
    breaker.acquire().record(Outcome.SUCCESS)


async def require(breaker: Breaker) -> None:
    breaker.require()


FORMS = (execute, execute_sync, guard, guard_sync, decorated, acquire, require)


@pytest.mark.parametrize("form", FORMS, ids=lambda form: form.__name__)
class TestForceOpen:
    async def test_rejects_each_form_whatever_the_verdict(
        self, fleet: Fleet, form: Callable[[Breaker], object]
    ) -> None:
        breakers = [fleet.coordinator().breaker("payments") for _ in range(2)]
        force(fleet, next(iter(fleet._members)))
        for breaker in breakers:
            with pytest.raises(CircuitOpenError) as caught:
                await form(breaker)  # type: ignore[misc]
            assert caught.value.forced
            assert 3590 < caught.value.retry_after <= 3600
            assert (breaker.state, breaker.blocked, breaker.forced) == (State.OPEN, 0, 0)
        fleet.advance()
        assert [(each.blocked, each.forced) for each in breakers] == [(1, 1)] * 2

    async def test_lets_it_pass_again_after_its_end(
        self, fleet: Fleet, form: Callable[[Breaker], object]
    ) -> None:
        coordinator = fleet.coordinator()
        breaker = coordinator.breaker("payments")
        force(fleet, coordinator, expires_in=5.0)
        fleet.advance(5)
        assert breaker.override is None
        await form(breaker)  # type: ignore[misc] # nobody called meanwhile, and nothing was held


async def test_calls_inside_of_one_under_way_are_rejected_as_well(fleet: Fleet) -> None:
    coordinator = fleet.coordinator()
    breaker = coordinator.breaker("payments")
    async with breaker.guard() as permit:
        force(fleet, coordinator)
        with pytest.raises(CircuitOpenError):
            await execute(breaker)
        permit.record(Outcome.SUCCESS)


class TestTable:
    """The rows and columns of docs/overrides.md."""

    @pytest.mark.parametrize("mode", MODES)
    def test_closed_is_counted(self, fleet: Fleet, mode: Override) -> None:
        coordinator = fleet.coordinator()
        breaker = coordinator.breaker("payments")
        force(fleet, coordinator, mode)
        for _ in range(3):
            fails(breaker)
        assert breaker.would_block == 0
        fleet.advance()
        assert (breaker.state, breaker.verdict) == (State.CLOSED, State.OPEN)

    @pytest.mark.parametrize("mode", MODES)
    def test_open_passes_uncounted(self, fleet: Fleet, mode: Override) -> None:
        coordinator = fleet.coordinator()
        breaker = coordinator.breaker("payments")
        fleet.trip(breaker)
        force(fleet, coordinator, mode)
        generation, failures = breaker.generation, sum(breaker.failures.counts)
        assert breaker.retry_after == 0
        for _ in range(5):
            fails(breaker)
        breaker.require()
        fleet.advance()
        assert breaker.would_block == 5
        assert breaker.blocked == 0
        assert sum(breaker.failures.counts) == failures + 5, "metrics show them"
        assert (breaker.generation, breaker.verdict) == (generation, State.OPEN)

    @pytest.mark.parametrize("mode", MODES)
    def test_trial_has_its_permits_and_the_rest_passes_uncounted(
        self, fleet: Fleet, mode: Override
    ) -> None:
        coordinator = fleet.coordinator()
        breaker = coordinator.breaker("payments")
        fleet.trip(breaker)
        force(fleet, coordinator, mode)
        fleet.advance(10)
        passes(breaker)
        fleet.advance()
        assert breaker.verdict is State.HALF_OPEN
        permits = [breaker.acquire() for _ in range(3)]
        assert [permit.on_trial for permit in permits] == [True, False, False]
        for permit in permits[1:]:
            permit.record(Outcome.FAILURE)  # uncounted: the trial alone decides
        permits[0].record(Outcome.SUCCESS)
        fleet.advance()
        assert breaker.verdict is State.CLOSED

    @pytest.mark.parametrize("mode", MODES)
    def test_ramp_counts_its_share_only(self, mode: Override) -> None:
        with Fleet(policy=RAMP) as fleet:
            coordinator = fleet.coordinator()
            breaker = coordinator.breaker("payments")
            fleet.trip(breaker)
            force(fleet, coordinator, mode)
            fleet.advance(10)
            passes(breaker)
            fleet.advance()
            passes(breaker)
            fleet.advance()
            assert breaker.verdict is State.HALF_OPEN
            before = breaker.would_block
            assert all(passes(breaker) for _ in range(10))
            fleet.advance()
            assert breaker.would_block - before == 5
            assert breaker.share == 1

    def test_trial_permits_lapse_when_it_is_forced_open(self, fleet: Fleet) -> None:
        coordinator = fleet.coordinator()
        breaker = coordinator.breaker("payments")
        fleet.trip(breaker)
        fleet.advance(10)
        assert not passes(breaker)
        fleet.advance()
        assert breaker.state is State.HALF_OPEN
        force(fleet, coordinator)
        assert not passes(breaker)
        fleet.advance()
        assert breaker.verdict is State.OPEN


class TestRecovery:
    def test_held_open_without_checks_or_trials_and_then_recovers(self, fleet: Fleet) -> None:
        changes: list[StateChange] = []
        coordinator = fleet.coordinator(on_state_change=changes.append)
        breaker = coordinator.breaker("payments")
        force(fleet, coordinator, expires_in=600.0)
        for _ in range(20):
            assert not passes(breaker)
            fleet.advance(29)
        assert [change.reason.cause for change in changes] == [Cause.FORCED]
        assert changes[0].reason.detail == f"held open by ops: {REASON}"
        fleet.advance(21)
        assert breaker.override is None
        assert breaker.state is State.OPEN
        assert not passes(breaker), "it shows demand, and gets a trial"
        fleet.advance()
        assert passes(breaker)
        fleet.advance()
        assert [change.state for change in changes] == [
            State.OPEN,
            State.HALF_OPEN,
            State.CLOSED,
        ]

    def test_a_check_and_a_ramp(self) -> None:
        async def check(_: object) -> None:
            raise AssertionError("the fleet replaces it")

        with Fleet(policy=replace(RAMP, health_check=check)) as fleet:
            changes: list[StateChange] = []
            coordinator = fleet.coordinator(on_state_change=changes.append)
            breaker = coordinator.breaker("payments")
            force(fleet, coordinator)
            passes(breaker)
            fleet.advance(60)
            force(fleet, coordinator, None)
            fleet.advance(1)
            assert breaker.share == 0.5
            fleet.advance(30)
            assert [change.reason.cause for change in changes] == [
                Cause.FORCED,
                Cause.RAMP,
                Cause.RAMP_PASSED,
            ]

    def test_results_from_before_open_nothing_and_close_nothing(self, fleet: Fleet) -> None:
        coordinator = fleet.coordinator()
        breaker = coordinator.breaker("payments")
        permits: list[Permit] = [breaker.acquire() for _ in range(5)]
        force(fleet, coordinator)
        passes(breaker)
        fleet.advance()
        for permit in permits:
            permit.record(Outcome.SUCCESS)
        fleet.advance()
        assert breaker.verdict is State.OPEN

    def test_the_next_leader_holds_it_as_well(self, fleet: Fleet) -> None:
        first = fleet.coordinator()
        second = fleet.coordinator()
        breaker = second.breaker("payments")
        force(fleet, first)
        passes(breaker)
        fleet.advance()
        assert breaker.verdict is State.OPEN
        fleet.cut_off(first)
        for _ in range(10):
            fleet.advance(10)
            assert not passes(breaker)
        assert second.role == "leader"
        assert breaker.verdict is State.OPEN
        force(fleet, second, None)
        fleet.recover(breaker)

    def test_patterns_hold_what_is_known_and_what_is_called(self, fleet: Fleet) -> None:
        coordinator = fleet.coordinator()
        tripped, called = coordinator.breaker("pay-1"), coordinator.breaker("pay-2")
        fleet.trip(tripped)
        fleet.recover(tripped)
        force(fleet, coordinator, circuit="pay-*")
        passes(called)
        fleet.advance()
        assert (tripped.verdict, called.verdict) == (State.OPEN, State.OPEN)
        assert coordinator.breaker("other").state is State.CLOSED
        assert "pay-3" not in coordinator.breakers


class TestProbe:
    async def test_the_wait_is_over_though_the_upstream_asked_for_it(self, fleet: Fleet) -> None:
        coordinator = fleet.coordinator()
        breaker = coordinator.breaker("payments")
        for _ in range(3):
            fails(breaker)
        fleet.advance()
        assert breaker.retry_after > 200
        assert await coordinator.probe("payments", reason="it is back", actor="ops")
        fleet.advance()
        assert not passes(breaker)
        fleet.advance()
        assert passes(breaker)
        fleet.advance()
        assert breaker.state is State.CLOSED

    async def test_nothing_else(self, fleet: Fleet) -> None:
        coordinator = fleet.coordinator()
        assert not await coordinator.probe("unknown", reason="why not")
        fleet.advance()
        assert not coordinator.breakers
        breaker = coordinator.breaker("payments")
        force(fleet, coordinator)
        passes(breaker)
        fleet.advance()
        assert not await coordinator.probe("payments", reason="why not")
        fleet.advance()
        assert breaker.verdict is State.OPEN
        assert not passes(breaker)

    async def test_asked_for_while_nobody_leads(self, fleet: Fleet) -> None:
        first, second = fleet.coordinator(), fleet.coordinator()
        breaker = second.breaker("payments")
        fleet.trip(breaker)
        fleet.cut_off(first)
        await second.probe("payments", reason="it is back")
        fleet.advance(3)
        assert second.role == "leader"
        assert breaker.retry_after <= 1


class TestCutOff:
    def test_it_stays_and_ends_in_time(self, fleet: Fleet) -> None:
        leader, other = fleet.coordinator(), fleet.coordinator()
        breaker = other.breaker("payments")
        force(fleet, leader, expires_in=60.0)
        fleet.cut_off(other)
        fleet.advance(50)
        assert breaker.state is State.OPEN
        fleet.advance(10)
        assert breaker.override is None
        assert passes(breaker)

    def test_one_that_comes_back_hears_of_it(self, fleet: Fleet) -> None:
        leader, other = fleet.coordinator(), fleet.coordinator()
        breaker = other.breaker("payments")
        fleet.cut_off(other)
        fleet.advance(5)
        force(fleet, leader)
        assert breaker.state is State.CLOSED
        fleet.reconnect(other)
        fleet.advance(15)
        assert breaker.state is State.OPEN
        assert not passes(breaker)

    def test_alone_it_makes_no_trial_and_no_check(self) -> None:
        with Fleet(policy=replace(POLICY, cut_off="local")) as fleet:
            leader, other = fleet.coordinator(), fleet.coordinator()
            breaker = other.breaker("payments")
            fleet.trip(breaker)
            force(fleet, leader)
            fleet.cut_off(other)
            for _ in range(20):
                fleet.advance(5)
                assert not passes(breaker)
            assert breaker.verdict is State.OPEN

    def test_alone_it_goes_on_with_no_ramp_that_is_held(self) -> None:
        """The operator's word came while nobody led: no leader has ended the ramp."""
        policy = replace(RAMP, cut_off="local", ramp_step=60.0, backoff=ConstantBackoff(30))
        with Fleet(policy=policy) as fleet:
            leader, one, other = (fleet.coordinator() for _ in range(3))
            breaker = one.breaker("payments")
            fleet.advance()
            fleet.trip(breaker)
            fleet.advance(30)
            while not breaker.share:
                passes(breaker)
                fleet.advance()
            assert (leader.role, breaker.share) == ("leader", 0.5)
            fleet.cut_off(leader)
            force(fleet, other, expires_in=10.0)
            fleet.cut_off(one)
            fleet.advance(9)
            assert breaker.verdict is State.OPEN
            for _ in range(20):  # also after the end: it recovers before it lets a share pass
                fleet.advance(1)
                assert not passes(breaker)

    def test_alone_under_observe_the_own_verdict_changes(self) -> None:
        with Fleet(policy=replace(POLICY, cut_off="local")) as fleet:
            leader, other = fleet.coordinator(), fleet.coordinator()
            breaker = other.breaker("payments")
            force(fleet, leader, Override.OBSERVE)
            fleet.cut_off(other)
            fleet.advance(10)
            for _ in range(3):
                fails(breaker)
            fleet.advance()
            assert (breaker.state, breaker.verdict) == (State.CLOSED, State.OPEN)
            assert passes(breaker)


class TestUncounted:
    """A call inside one that is uncounted is so, too."""

    async def test_no_deadline_of_the_upstream(self, fleet: Fleet) -> None:
        coordinator = fleet.coordinator()
        breaker = coordinator.breaker("payments")
        fleet.trip(breaker)
        force(fleet, coordinator, Override.OBSERVE)
        async with breaker.guard():
            breaker.acquire().record(Outcome.FAILURE, "HTTP 503", retry_after=900.0)
        fleet.advance(10)
        passes(breaker)
        fleet.advance()
        assert breaker.verdict is State.HALF_OPEN

    async def test_no_result_after_it(self) -> None:
        with Fleet(policy=RAMP) as fleet:
            coordinator = fleet.coordinator()
            breaker = coordinator.breaker("payments")
            fleet.trip(breaker)
            fleet.advance(10)
            for _ in range(10):
                passes(breaker)
                fleet.advance()
            assert breaker.share == 0.5
            force(fleet, coordinator, Override.OBSERVE)
            late = 0
            for _ in range(10):
                async with breaker.guard() as outer:
                    inner = breaker.acquire()
                if not outer.on_ramp:
                    inner.record(Outcome.FAILURE, "late")
                    late += 1
            assert late > 3, "more than open it"
            fleet.advance()
            assert breaker.verdict is State.HALF_OPEN


class TestLoss:
    def test_what_redis_has_lost_is_given_back(self, fleet: Fleet) -> None:
        coordinator, other = fleet.coordinator(), fleet.coordinator()
        force(fleet, coordinator)
        force(fleet, coordinator, Override.OBSERVE, circuit="stock")
        force(fleet, coordinator, None, circuit="stock")
        fleet._server.restart(empty=True)
        fleet.advance(20)
        newcomer = fleet.coordinator()
        for each in (coordinator, other, newcomer):
            assert list(each.overrides) == ["payments"]
        assert not passes(newcomer.breaker("payments"))

    def test_one_that_is_set_before_anybody_notices_counts_as_well(self, fleet: Fleet) -> None:
        coordinator, other = fleet.coordinator(), fleet.coordinator()
        force(fleet, coordinator)
        fleet._server.restart(empty=True)
        coordinator.override_sync("stock", Override.FORCE_OPEN, reason=REASON)
        fleet.advance(20)
        for each in (coordinator, other, fleet.coordinator()):
            assert set(each.overrides) == {"payments", "stock"}

    def test_an_older_copy_brings_none_back(self, fleet: Fleet) -> None:
        coordinator, other = fleet.coordinator(), fleet.coordinator()
        force(fleet, coordinator)
        fleet._server.save()
        force(fleet, coordinator, None)
        force(fleet, coordinator, circuit="stock")
        fleet._server.restart(empty=False)
        fleet.advance(20)
        for each in (coordinator, other, fleet.coordinator()):
            assert list(each.overrides) == ["stock"]


class TestClocks:
    def test_redis_clock_that_is_set_back_prolongs_nothing(self, fleet: Fleet) -> None:
        coordinator = fleet.coordinator()
        breaker = coordinator.breaker("payments")
        force(fleet, coordinator, expires_in=60.0)
        fleet._server.ahead -= 50_000
        fleet.advance(61)
        assert breaker.override is None
        fleet.advance(20)
        newcomer = fleet.coordinator()
        assert not newcomer.overrides, "the leader has removed it"

    def test_redis_clock_that_is_set_ahead_ends_it(self, fleet: Fleet) -> None:
        coordinator = fleet.coordinator()
        breaker = coordinator.breaker("payments")
        force(fleet, coordinator, expires_in=60.0)
        fleet._server.ahead += 50_000
        fleet.advance(10)
        assert breaker.override is None


class TestEvents:
    def test_set_lifted_and_expired_are_told_once(self, fleet: Fleet) -> None:
        told: list[OverrideChange] = []
        coordinator = fleet.coordinator(on_override=told.append)
        force(fleet, coordinator, expires_in=5.0)
        fleet.advance(20)
        force(fleet, coordinator, Override.OBSERVE)
        coordinator.override_sync("payments", None, reason="all well", actor="bob")
        fleet.advance(20)
        assert [change.kind for change in told] == ["set", "expired", "set", "lifted"]
        assert told[1].override.mode is Override.FORCE_OPEN
        assert told[3].lifted is not None
        assert (told[3].lifted.actor, told[3].lifted.reason) == ("bob", "all well")

    def test_expected_number(self, fleet: Fleet) -> None:
        coordinator = fleet.coordinator()
        first = coordinator.override_sync("payments", Override.OBSERVE, reason=REASON, expect=0)
        with pytest.raises(OverrideConflictError, match=str(first.number)):
            coordinator.override_sync("payments", None, reason=REASON, expect=0)
        coordinator.override_sync("payments", None, reason=REASON, expect=first.number)
        fleet.advance()
        assert not coordinator.overrides


class TestObservePolicy:
    @pytest.fixture
    def fleet(self) -> Iterator[Fleet]:
        with Fleet(policy=replace(POLICY, observe=True)) as fleet:
            yield fleet

    def test_shadows_on_its_own_instance_only(self, fleet: Fleet) -> None:
        shadow = fleet.coordinator().breaker("payments")
        enforcing = fleet.coordinator(policy=POLICY).breaker("payments")
        for _ in range(3):
            fails(shadow)
        fleet.advance()
        assert (shadow.state, shadow.verdict) == (State.CLOSED, State.OPEN)
        assert enforcing.state is State.OPEN
        assert passes(shadow)
        assert not passes(enforcing)
        fleet.advance(6)
        assert not fleet.coordinator().statistics.errors

    def test_an_override_takes_precedence(self, fleet: Fleet) -> None:
        coordinator = fleet.coordinator()
        breaker = coordinator.breaker("payments")
        force(fleet, coordinator)
        assert not passes(breaker)
        force(fleet, coordinator, None)
        assert passes(breaker)

    def test_is_no_difference_between_policies(self) -> None:
        assert BreakerPolicy(observe=True).observe
        with pytest.raises(TypeError, match="observe"):
            BreakerPolicy(observe="yes")  # type: ignore[arg-type]


class TestHttp:
    async def test_the_transport_tells_that_it_is_forced_and_not_why(self, fleet: Fleet) -> None:
        coordinator = fleet.coordinator()
        force(fleet, coordinator, circuit="api.example.com")
        transport = BreakerTransport(
            coordinator, httpx.MockTransport(lambda _: httpx.Response(200))
        )
        async with httpx.AsyncClient(transport=transport) as client:
            response = await client.get("https://api.example.com/")
        assert response.json()["forced"] is True
        assert REASON not in response.text
        status: BreakerStatus = response.extensions["breaker"]
        assert (status.forced, status.state) == (True, State.OPEN)

    @pytest.mark.parametrize("needed", [False, True])
    def test_a_route_that_is_protected_or_needs_it(self, fleet: Fleet, *, needed: bool) -> None:
        async def page(request: Request) -> PlainTextResponse:
            raise AssertionError("it is rejected before")

        coordinator = fleet.coordinator()
        force(fleet, coordinator)
        protection = (
            ProtectedRoute(needs=["payments"]) if needed else ProtectedRoute(circuit="payments")
        )
        app = BreakerMiddleware(
            Starlette(routes=[Route("/", page)]), coordinator, routes={"/": protection}
        )
        with TestClient(app) as client:
            response = client.get("/")
        assert response.status_code == 503
        assert response.json()["forced"] is True
        assert REASON not in response.text


class TestPatterns:
    def test_each_change_reaches_the_circuits_that_it_concerns(self, fleet: Fleet) -> None:
        coordinator = fleet.coordinator()
        names = ("pay", "pay-1", "pay-2", "stock")
        breakers = [coordinator.breaker(name) for name in names]
        expected: dict[str, Override] = {}
        for circuit, mode in (
            ("*", Override.OBSERVE),
            ("pay*", Override.FORCE_OPEN),
            ("pay-1", Override.FORCE_CLOSED),
            ("pay-?", Override.OBSERVE),
            ("pay*", None),
            ("pay-1", None),
            ("*", Override.FORCE_OPEN),
            ("pay-?", None),
            ("*", None),
        ):
            force(fleet, coordinator, mode, circuit)
            expected.pop(circuit, None)
            if mode is not None:
                expected[circuit] = mode
            found = [each.override and each.override.mode for each in breakers]
            assert found == [NamePatterns("", expected).find(name) for name in names], circuit


class TestKeeping:
    def test_breakers_of_names_with_overrides_are_not_evicted(self) -> None:
        with Fleet(policy=POLICY) as fleet:
            coordinator = fleet.coordinator(max_breakers=3)
            held = coordinator.breaker("payments")
            force(fleet, coordinator, Override.OBSERVE)
            for number in range(10):
                coordinator.breaker(f"c-{number}")
            assert coordinator.breaker("payments") is held

    async def test_without_an_end_callers_wait_a_minute(self, fleet: Fleet) -> None:
        coordinator = fleet.coordinator()
        force(fleet, coordinator, expires_in=None)
        assert coordinator.breaker("payments").retry_after == 60
        fleet.advance(4_000)
        assert not passes(coordinator.breaker("payments"))

    async def test_after_the_stop_it_holds_until_its_end(self) -> None:
        coordinator = Coordinator(policy=POLICY)
        async with coordinator:
            breaker = coordinator.breaker("payments")
            await coordinator.override(
                "payments", Override.FORCE_OPEN, reason=REASON, expires_in=0.5
            )
            assert not passes(breaker), "the call returns when it applies here"
        assert not passes(breaker)
        await eventually(lambda: passes(breaker))
        assert breaker.override is None
        assert not coordinator.overrides


class TestOperators:
    async def test_from_another_thread(self) -> None:
        async with Coordinator(policy=POLICY) as coordinator:
            records = []
            thread = threading.Thread(
                target=lambda: records.append(
                    coordinator.override_sync("payments", Override.OBSERVE, reason=REASON)
                )
            )
            thread.start()
            await asyncio.to_thread(thread.join)
            assert coordinator.overrides == {"payments": records[0]}
            assert records[0].actor == coordinator.instance_id
            with pytest.raises(RuntimeError, match="_sync"):
                coordinator.override_sync("payments", None, reason=REASON)

    async def test_not_without_a_fleet(self) -> None:
        with pytest.raises(BackendError, match="start it first"):
            await Coordinator().override("payments", None, reason=REASON)
        with pytest.raises(BackendError, match="start it first"):
            await Coordinator().probe("payments", reason=REASON)

    @pytest.mark.parametrize("shards", [1, 3])
    async def test_patterns_reach_all_shards_and_are_told_once(self, shards: int) -> None:
        told: list[OverrideChange] = []
        async with Coordinator(policy=POLICY, shards=shards, on_override=told.append) as each:
            await each.override("*", Override.FORCE_OPEN, reason=REASON)
            for number in range(10):
                assert not passes(each.breaker(f"c-{number}"))
            await eventually(lambda: told)
            assert [change.circuit for change in told] == ["*"]
            assert list(each.overrides) == ["*"]
            if shards > 1:
                with pytest.raises(ValueError, match="expect"):
                    await each.override("*", None, reason=REASON, expect=7)

    async def test_a_store_that_is_away_is_told_in_two_seconds(self) -> None:
        class Away(MemoryBackend):
            async def override(self, *_: object) -> None:  # type: ignore[override]
                raise BackendError("away")

        async with Coordinator(Away(), policy=POLICY) as coordinator:
            with pytest.raises(BackendError, match="away"):
                await coordinator.override("payments", Override.OBSERVE, reason=REASON)
            assert not coordinator.overrides
