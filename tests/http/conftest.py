"""Fixtures of the transport's tests: an upstream, and coordinators of one process."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from typing import Any, TypeAlias

import pytest

from tests.http.server import Upstream
from zenvark_web import BreakerPolicy, ConsecutiveFailures, ConstantBackoff, Coordinator

StartCoordinator: TypeAlias = Callable[..., Awaitable[Coordinator]]

PATIENT = BreakerPolicy(strategy=ConsecutiveFailures(1_000_000))
OPENS_AT_ONCE = BreakerPolicy(strategy=ConsecutiveFailures(1), backoff=ConstantBackoff(60))
RECOVERS_AT_ONCE = BreakerPolicy(strategy=ConsecutiveFailures(1), backoff=ConstantBackoff(0.01))


@pytest.fixture
async def upstream() -> AsyncIterator[Upstream]:
    async with Upstream() as server:
        yield server


@pytest.fixture
def errors() -> list[Exception]:
    """What the coordinators of a test told to `on_error`."""
    return []


@pytest.fixture
async def start_coordinator(errors: list[Exception]) -> AsyncIterator[StartCoordinator]:
    """Starts coordinators that are stopped when the test ends."""
    async with AsyncExitStack() as stack:

        async def start(policy: BreakerPolicy, **settings: Any) -> Coordinator:
            coordinator = Coordinator(policy=policy, on_error=errors.append, **settings)
            return await stack.enter_async_context(coordinator)

        yield start


@pytest.fixture
async def coordinator(start_coordinator: StartCoordinator) -> Coordinator:
    """One whose circuits never open."""
    return await start_coordinator(PATIENT)


@pytest.fixture
async def brisk(start_coordinator: StartCoordinator) -> Coordinator:
    """One whose circuits open at one failure, and stay open."""
    return await start_coordinator(OPENS_AT_ONCE)
