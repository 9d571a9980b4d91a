"""Fixtures that every part of the suite shares: real servers, namespaces, child processes.

Hypothesis takes the same examples in every run, and no stopwatch on busy machines: few of them by
default, many with `HYPOTHESIS_PROFILE=thorough`, as in `nox -s faults`. The profile `search` looks
for new ones.
"""

import os
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from tests.helpers.processes import ChildProcess, StartChild
from tests.helpers.servers import (
    URL_VARIABLE,
    RedisServer,
    ServerBinary,
    ServerHandle,
    ServerMissingError,
    current_server,
    oldest_server,
)
from tests.helpers.spanning import spanning
from zenvark_web.backends import redis

_STEADY = settings(deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("steady", _STEADY, max_examples=30)
settings.register_profile("thorough", _STEADY, max_examples=500)
settings.register_profile("search", deadline=None, max_examples=5000)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "steady"))

Finder = Callable[[], ServerBinary]

LONGEST_ID = 100


def pytest_make_parametrize_id(val: object, argname: str) -> str | None:
    """Huge values have short ids: pytest puts the test's name into the environment, and no
    process can be started with a huge one there."""
    if isinstance(val, str | bytes) and len(val) > LONGEST_ID:
        return f"{argname}-of-{len(val)}"
    return None


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    """redis-py runs on asyncio only, and so do we."""
    return "asyncio"


@pytest.fixture
def namespace() -> str:
    """A namespace that no other test uses, so that all can share one server."""
    return f"test-{uuid.uuid4().hex[:12]}"


@pytest.fixture(scope="session")
def redis_server() -> Iterator[ServerHandle]:
    """The current server, shared by the session: read and write, but leave it running."""
    if url := os.environ.get(URL_VARIABLE):
        yield ServerHandle(url)
        return
    with RedisServer(_found(current_server)) as server:
        yield server


@pytest.fixture(scope="session")
def oldest_redis_server() -> Iterator[ServerHandle]:
    """The oldest supported server, shared by the session like `redis_server`."""
    with RedisServer(_found(oldest_server)) as server:
        yield server


@pytest.fixture
def patient_commands(monkeypatch: pytest.MonkeyPatch) -> None:
    """For tests that look at every error: a busy host that keeps a command waiting makes none."""
    monkeypatch.setattr(redis, "COMMAND_TIMEOUT", 30.0)
    monkeypatch.setattr(redis, "READ_SLACK", 30.0)


@pytest.fixture
def fresh_server() -> Iterator[RedisServer]:
    """A current server for one test alone, which may pause, kill and restart it."""
    with RedisServer(_found(current_server)) as server:
        yield server


@pytest.fixture
def start_child() -> Iterator[StartChild]:
    """Starts Python processes (see `ChildProcess`) that are gone when the test ends."""
    with ExitStack() as children:

        def start(
            target: Path | str, *arguments: str, env: Mapping[str, str] | None = None
        ) -> ChildProcess:
            return children.enter_context(ChildProcess(target, *arguments, env=env))

        yield start


_SHARED_SERVERS = {"redis_server": current_server, "oldest_redis_server": oldest_server}


def _server_id(fixture: str) -> str:
    if fixture == "redis_server" and os.environ.get(URL_VARIABLE):
        return "given"
    try:
        return _SHARED_SERVERS[fixture]().name
    except ServerMissingError:
        return f"missing-{fixture}"


@pytest.fixture(scope="session", params=spanning(_SHARED_SERVERS, {"redis_server"}), ids=_server_id)
def server(request: pytest.FixtureRequest) -> ServerHandle:
    """Each supported kind of server in turn: the current one, and where slow tests run the oldest.
    (The contract suite always has both.)"""
    handle: ServerHandle = request.getfixturevalue(request.param)
    return handle


def _found(find: Finder) -> ServerBinary:
    try:
        return find()
    except ServerMissingError as error:
        pytest.fail(str(error), pytrace=False)
