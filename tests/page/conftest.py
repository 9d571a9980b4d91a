"""Coordinators whose page is looked at."""

from collections.abc import AsyncIterator

import pytest

from tests.helpers.servers import ServerHandle
from tests.page.fleets import POLICY
from zenvark_web import Coordinator


@pytest.fixture(params=["memory", "redis", "redis with shards"])
async def coordinator(
    request: pytest.FixtureRequest, redis_server: ServerHandle, namespace: str
) -> AsyncIterator[Coordinator]:
    """An instance on each kind of store."""
    url = None if request.param == "memory" else redis_server.url
    shards = 3 if "shards" in request.param else 1
    made = Coordinator(url, namespace=namespace, policy=POLICY, shards=shards)
    async with made:
        yield made


@pytest.fixture
async def alone(namespace: str) -> AsyncIterator[Coordinator]:
    """An instance without Redis."""
    async with Coordinator(namespace=namespace, policy=POLICY) as made:
        yield made
