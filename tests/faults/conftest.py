"""Fixtures of the tests with faults."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import ExitStack, asynccontextmanager
from typing import Protocol

import pytest

from tests.cluster.conftest import processes, start_fleet, store, upstream
from tests.cluster.store import connections
from tests.helpers.proxy import Proxy
from tests.helpers.servers import RedisServer
from tests.helpers.waiting import eventually

__all__ = [
    "processes",
    "start_fleet",
    "store",
    "upstream",
]  # the fixtures of instances in processes

Scenario = Callable[[str, RedisServer, str], Awaitable[None]]
"""What happens in one kind of fault, with a server of its own, in a namespace."""

Outcomes = dict[str, BaseException | None]

ABREAST = 4
"""So many scenarios run at the same time: with more, their fleets share too little of a busy
processor to keep their brief leases."""


class SideBySide(Protocol):
    """What the fixture `side_by_side` gives."""

    async def __call__(self, scenario: Scenario, kind: str) -> None: ...


@pytest.fixture
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same limits, so that what is hung is noticed sooner, and all is told sooner."""
    monkeypatch.setattr("zenvark_web.backends.redis.COMMAND_TIMEOUT", 0.6)
    monkeypatch.setattr("zenvark_web.backends.redis.READ_SLACK", 0.5)
    monkeypatch.setattr("zenvark_web.backends._clients.LONGEST_WAIT", 0.4)
    monkeypatch.setattr("zenvark_web._judging.leader.TIDY_INTERVAL", 0.3)
    monkeypatch.setattr("zenvark_web._coordination.election.ANNOUNCE_INTERVAL", 0.3)


@pytest.fixture
def lasting(monkeypatch: pytest.MonkeyPatch) -> None:
    """Results count, and are waited for, longer than a busy host takes after a fault."""
    for module in ("_circuits.batch_builder", "_judging.checkpoints"):
        monkeypatch.setattr(f"zenvark_web.{module}.MAX_AGE", 60.0)
    monkeypatch.setattr("zenvark_web._circuits.batches.GIVEN_UP_AFTER", 60.0)


@pytest.fixture
async def proxy(fresh_server: RedisServer) -> AsyncIterator[Proxy]:
    """In front of a server of its own. In the end nobody is connected to either."""
    async with proxy_of(fresh_server) as proxy:
        yield proxy


@asynccontextmanager
async def proxy_of(server: RedisServer) -> AsyncIterator[Proxy]:
    """A proxy in front of a server. In the end nobody is connected to either."""
    async with Proxy(server.port) as proxy:
        yield proxy
        proxy.heal()
        await eventually(lambda: proxy.connections == 0, what="an end of all connections")
    await eventually(lambda: connections(server) == 0, what="an end of all connections")


@pytest.fixture(scope="module")
def outcomes() -> dict[str, Outcomes]:
    """How scenarios went, by test and kind."""
    return {}


@pytest.hookimpl(tryfirst=True)  # before pytest-xdist looks for groups
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Scenarios that run side by side do so once, in one of the processes that share the tests."""
    for item in items:
        if isinstance(item, pytest.Function) and "side_by_side" in item.fixturenames:
            item.add_marker(pytest.mark.xdist_group(f"{item.path.stem}::{item.originalname}"))


@pytest.fixture
def side_by_side(
    request: pytest.FixtureRequest, outcomes: dict[str, Outcomes], namespace: str
) -> SideBySide:
    """Runs a scenario of all the kinds that a test has (its parameter `kind`), several at the same
    time, as most of it is waiting. Each test then tells how its own kind went."""
    test = request.node.originalname
    if hasattr(request.config, "workerinput"):
        assert "@" in request.node.nodeid, "one process for all of a group needs --dist loadgroup"

    async def run(scenario: Scenario, kind: str) -> None:
        if test not in outcomes:
            kinds = [
                item.callspec.params["kind"]
                for item in request.session.items
                if isinstance(item, pytest.Function)
                and (item.path, item.originalname) == (request.node.path, test)
            ]
            outcomes[test] = await _run_all(scenario, kinds, namespace)
        outcome = outcomes[test][kind]
        if outcome is not None:
            raise outcome

    return run


async def _run_all(scenario: Scenario, kinds: list[str], namespace: str) -> Outcomes:
    ended: list[BaseException | None] = []
    with ExitStack() as servers:  # all before the first scenario: starting one blocks the loop
        ready = [(kind, servers.enter_context(RedisServer())) for kind in kinds]
        for first in range(0, len(ready), ABREAST):
            abreast = ready[first : first + ABREAST]
            ended += await asyncio.gather(
                *(scenario(kind, server, namespace) for kind, server in abreast),
                return_exceptions=True,
            )
    return dict(zip(kinds, ended, strict=True))
