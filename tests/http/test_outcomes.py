"""What a circuit learns from each request: once, and the right thing."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, nullcontext

import httpx
import pytest

from tests.helpers.waiting import eventually
from tests.http.circuits import PATIENCE, counts, half_opened, let_through, takes_a_call
from tests.http.conftest import RECOVERS_AT_ONCE, StartCoordinator
from tests.http.scenarios import SCENARIOS, Caller, Scenario
from tests.http.server import Upstream
from zenvark_web import BreakerTransport, Cause, Coordinator, Outcome, StateChange

COUNTS = {Outcome.SUCCESS: (1, 0), Outcome.FAILURE: (0, 1), Outcome.IGNORED: (0, 0)}


@pytest.fixture(params=SCENARIOS, ids=lambda scenario: scenario.name)
def scenario(request: pytest.FixtureRequest) -> Scenario:
    given: Scenario = request.param
    return given


@asynccontextmanager
async def caller(
    scenario: Scenario, coordinator: Coordinator, upstream: Upstream
) -> AsyncIterator[Caller]:
    upstream.answer = scenario.answer
    inner = scenario.inner()
    transport = BreakerTransport(
        coordinator, inner, circuits=lambda _: "upstream", when_open="raise"
    )
    async with httpx.AsyncClient(
        transport=transport, base_url=upstream.url, timeout=PATIENCE
    ) as client:
        yield Caller(client, inner, upstream)


async def play(scenario: Scenario, caller: Caller) -> object:
    """Play a scenario to its end. Its result is kept, so that nothing is settled by deleting."""
    with pytest.raises(scenario.raises) if scenario.raises else nullcontext() as caught:
        return await scenario.use(caller)
    return caught


async def test_each_request_counts_once(
    scenario: Scenario, coordinator: Coordinator, upstream: Upstream, errors: list[Exception]
) -> None:
    breaker = coordinator.breaker("upstream")
    async with caller(scenario, coordinator, upstream) as given:
        kept = await play(scenario, given)
        assert counts(breaker) == COUNTS[scenario.outcome]
    assert counts(breaker) == COUNTS[scenario.outcome], "closing the client changed it"
    assert not errors
    del kept


async def test_each_trial_ends(
    scenario: Scenario, start_coordinator: StartCoordinator, upstream: Upstream
) -> None:
    """A half-open circuit with one permit closes, opens, or has its permit back."""
    changes: list[StateChange] = []
    coordinator = await start_coordinator(RECOVERS_AT_ONCE, on_state_change=changes.append)
    breaker = coordinator.breaker("upstream")

    def verdicts() -> list[Cause]:
        ends = {Cause.TRIAL_PASSED, Cause.TRIAL_FAILED}
        return [change.reason.cause for change in changes if change.reason.cause in ends]

    async with caller(scenario, coordinator, upstream) as given:
        await half_opened(breaker)
        kept = await let_through(lambda: play(scenario, given))
        if scenario.outcome is Outcome.IGNORED:
            await eventually(lambda: takes_a_call(breaker), within=PATIENCE)
            assert verdicts() == []
            await let_through(lambda: breaker.execute(asyncio.sleep, 0))
        await eventually(verdicts, within=PATIENCE)
    expected = Cause.TRIAL_FAILED if scenario.outcome is Outcome.FAILURE else Cause.TRIAL_PASSED
    assert verdicts() == [expected]
    del kept
