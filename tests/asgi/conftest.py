"""Coordinators of one process, whose circuits never open or open at one failure."""

from collections.abc import AsyncIterator

import pytest

from zenvark_web import BreakerPolicy, ConsecutiveFailures, ConstantBackoff, Coordinator


@pytest.fixture
async def patient() -> AsyncIterator[Coordinator]:
    """One whose circuits never open."""
    policy = BreakerPolicy(strategy=ConsecutiveFailures(1_000_000))
    async with Coordinator(policy=policy) as coordinator:
        yield coordinator


@pytest.fixture
async def brisk() -> AsyncIterator[Coordinator]:
    """One whose circuits open at one failure, and stay open."""
    policy = BreakerPolicy(strategy=ConsecutiveFailures(1), backoff=ConstantBackoff(60))
    async with Coordinator(policy=policy) as coordinator:
        yield coordinator
