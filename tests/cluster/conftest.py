"""Fixtures of the tests with real processes."""

from collections.abc import AsyncIterator, Iterator

import pytest

from tests.cluster.fleet import Processes, StartFleet
from tests.cluster.store import Store
from tests.cluster.upstream import Upstream
from tests.helpers.servers import ServerHandle


@pytest.fixture
async def upstream() -> AsyncIterator[Upstream]:
    """The server that a fleet's calls go to."""
    async with Upstream() as server:
        yield server


@pytest.fixture(scope="session")
def processes() -> Iterator[Processes]:
    processes = Processes()
    yield processes
    processes.close()


@pytest.fixture
async def start_fleet(
    processes: Processes, redis_server: ServerHandle, upstream: Upstream, namespace: str
) -> AsyncIterator[StartFleet]:
    """Starts instances of one fleet. None of them may leave a trace of trouble behind."""
    start = StartFleet(processes, redis_server, upstream.url, namespace)
    yield start
    await start.end()


@pytest.fixture
def store(redis_server: ServerHandle, namespace: str) -> Store:
    """What the fleet's instances have stored in the shared server."""
    return Store(redis_server, namespace)
