"""Clients without a loop of asyncio's: the coordinator runs in a thread of its own."""

from typing import Any

import anyio
import pytest

from tests.helpers.waiting import PATIENCE, eventually_sync
from tests.http.clients import LIBRARIES
from tests.http.conftest import OPENS_AT_ONCE
from zenvark_web import Coordinator, State

URL = "https://api.example.com/"


@pytest.mark.parametrize(("library", "ours"), LIBRARIES, ids=["httpx", "httpx2"])
@pytest.mark.parametrize("runner", ["sync", "trio", "asyncio"])
def test_a_failure_opens_the_circuit(library: Any, ours: Any, runner: str) -> None:
    with Coordinator(policy=OPENS_AT_ONCE) as coordinator:
        inner = library.MockTransport(lambda _: library.Response(500))
        transport = ours.BreakerTransport(coordinator, inner)

        def get_sync() -> Any:
            with library.Client(transport=transport) as client:
                return client.get(URL)

        async def get_async() -> Any:
            async with library.AsyncClient(transport=transport) as client:
                return await client.get(URL)

        def get() -> Any:
            return get_sync() if runner == "sync" else anyio.run(get_async, backend=runner)

        assert get().status_code == 500
        breaker = coordinator.breaker("api.example.com")
        eventually_sync(lambda: breaker.state is State.OPEN, within=PATIENCE)
        rejected = get()
        assert rejected.status_code == 503
        assert rejected.extensions["breaker"].state is State.OPEN
