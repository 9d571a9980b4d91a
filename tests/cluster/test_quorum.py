"""Four real processes, one of which reaches the upstream through a proxy that is dead."""

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest

from tests.cluster.upstream import Upstream
from tests.helpers.processes import ChildProcess, StartChild
from tests.helpers.proxy import CLOSING, Proxy
from tests.helpers.servers import ServerHandle
from tests.helpers.waiting import PATIENCE, eventually

CHILD = "tests.cluster.proxied_instance"
CALLS, PAUSE = 200, 0.02


async def ask(children: Sequence[ChildProcess], what: str, **arguments: object) -> list[Any]:
    return list(
        await asyncio.gather(*(child.acall(what, within=60, **arguments) for child in children))
    )


@pytest.mark.slow
@pytest.mark.parametrize("bad_leads", [False, True], ids=["follower", "leader"])
async def test_one_process_behind_a_dead_proxy_harms_no_other(
    redis_server: ServerHandle,
    namespace: str,
    start_child: StartChild,
    upstream: Upstream,
    bad_leads: bool,
) -> None:
    port = int(upstream.url.rpartition(":")[2])
    async with Proxy(port) as proxy:
        bad = start_child(CHILD, redis_server.url, namespace, f"http://127.0.0.1:{proxy.port}")
        good = [start_child(CHILD, redis_server.url, namespace, upstream.url) for _ in range(3)]
        for child in [bad, *good] if bad_leads else [*good, bad]:
            await child.acall("start")

            async def led() -> bool:
                return any(await ask([bad, *good], "leads"))

            await eventually(led, within=PATIENCE, what="a leader")
        assert await bad.acall("leads") is bad_leads
        await ask([bad, *good], "call", count=20, pause=PAUSE)

        proxy.switch(CLOSING)
        bads, *goods = await ask([bad, *good], "call", count=CALLS, pause=PAUSE)
        assert bads["rejected"] > CALLS / 2, "it protects itself"
        assert bads.get("succeeded", 0) == 0
        for ended in goods:
            assert ended["succeeded"] >= 0.99 * CALLS
        assert (await bad.acall("states"))["own"] != "closed"
        assert await ask(good, "states") == [{"state": "closed", "own": "closed"}] * 3

        proxy.heal()
        await bad.acall("recovers", within=PATIENCE)
        assert await bad.acall("call", count=20, pause=PAUSE) == {"succeeded": 20}
        assert await ask([bad, *good], "states") == [{"state": "closed", "own": "closed"}] * 4
        await ask([bad, *good], "stop")
