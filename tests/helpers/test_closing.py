"""The tests' own servers leave no socket behind, whatever has just connected to them."""

import asyncio
import gc
import socket
import warnings
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import Any

import pytest

from tests.cluster.upstream import Upstream as FleetUpstream
from tests.helpers.proxy import Proxy
from tests.helpers.spanning import spanning
from tests.http.server import Upstream, unused_port

Server = Callable[[], AbstractAsyncContextManager[Any]]


def proxy_to_nowhere() -> Proxy:
    with unused_port() as port:
        return Proxy(port)


@pytest.mark.parametrize("steps", spanning(range(6), {2}))
@pytest.mark.parametrize(
    "server", [Upstream, FleetUpstream, proxy_to_nowhere], ids=["http", "fleet", "proxy"]
)
def test_closed_just_after_somebody_has_connected(server: Server, steps: int) -> None:
    async def connect_and_close() -> None:
        async with server() as running:
            [listener] = running._server.sockets
            with socket.create_connection(listener.getsockname()):
                for _ in range(steps):
                    await asyncio.sleep(0)

    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        asyncio.run(connect_and_close())
        gc.collect()
    assert [str(warning.message) for warning in told] == []
