"""What an instance costs Redis: two connections and next to no commands."""

import asyncio
import time
from collections.abc import Callable

import pytest

from tests.cluster.fleet import StartFleet, all_reach
from tests.cluster.store import Store, connections
from tests.helpers.servers import RedisServer
from tests.helpers.waiting import PATIENCE, eventually

Record = Callable[[str, object], None]

SENT = ("evalsha", "eval", "xread")
"""The commands that instances send; scripts run the others inside of the server."""


def sent(server: RedisServer) -> int:
    calls = server.command_calls()
    return sum(calls[command] for command in SENT)


@pytest.mark.slow
async def test_thousand_circuits_take_two_connections_and_few_commands(
    fresh_server: RedisServer, namespace: str, start_fleet: StartFleet, record_property: Record
) -> None:
    store = Store(fresh_server, namespace)
    fleet = await start_fleet(2, server=fresh_server, lease_ttl=2.0)
    for instance in fleet:
        assert await instance.use(1000) == 1000
    await fleet[0].fail(5, circuit="circuit-999")
    await all_reach(fleet, "open", "circuit-999")
    # A slow host sends its first batch before the last of the circuits has been called.
    await eventually(
        lambda: all(store.reported(f"circuit-{n}")["successes"] == 2 for n in range(0, 999, 499)),
        within=PATIENCE,
        what="all reports",
    )
    assert connections(fresh_server) == 2 * len(fleet)

    began = time.monotonic()
    before, all_before = sent(fresh_server), fresh_server.info_commands()
    await asyncio.sleep(3.0)
    seconds = (time.monotonic() - began) * len(fleet)
    rate = (sent(fresh_server) - before) / seconds
    rate_inside = (fresh_server.info_commands() - all_before) / seconds
    record_property("commands_per_second", rate)
    print(f"an idle instance sends {rate:.1f} commands/s ({rate_inside:.1f} with scripts' own)")
    assert rate < 3
    assert rate_inside < 10


@pytest.mark.slow
async def test_twenty_thousand_calls_cost_few_commands(
    fresh_server: RedisServer, namespace: str, start_fleet: StartFleet, record_property: Record
) -> None:
    store = Store(fresh_server, namespace)
    fleet = await start_fleet(2, server=fresh_server)
    before = fresh_server.info_commands()
    await asyncio.gather(
        *(instance.work(circuits=20, calls=10_000, seconds=2.0) for instance in fleet)
    )
    cost = fresh_server.info_commands() - before
    await eventually(lambda: store.reported("circuit-0")["successes"] == 1000, within=PATIENCE)
    record_property("commands", cost)
    print(f"20,000 calls in two seconds cost {cost} commands")
    assert cost < 400
