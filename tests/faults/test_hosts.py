"""A host's clock is wrong, or something keeps a process' event loop busy."""

import asyncio
import re
import time
from pathlib import Path

import pytest

import zenvark_web
from tests.helpers.processes import ChildProcess, StartChild
from tests.helpers.servers import ServerHandle
from tests.helpers.waiting import PATIENCE, eventually

CHILD = "tests.faults.odd_instance"
HOUR = 3600.0


async def leader_of(fleet: list[ChildProcess]) -> ChildProcess:
    async def leaders() -> list[ChildProcess]:
        leads = await asyncio.gather(*(child.acall("leads") for child in fleet))
        found = [child for child, does in zip(fleet, leads, strict=True) if does]
        return found if len(found) == 1 else []

    return (await eventually(leaders, within=PATIENCE, what="exactly one leader"))[0]


async def become(fleet: list[ChildProcess], circuit: str, state: str) -> None:
    await asyncio.gather(
        *(child.acall("becomes", circuit=circuit, state=state, within=PATIENCE) for child in fleet)
    )


async def accounts_close(child: ChildProcess) -> dict[str, int]:
    async def closed() -> dict[str, int] | None:
        counts: dict[str, int] = await child.acall("counters")
        settled = counts["recorded"] == sum(counts.values()) - counts["recorded"]
        return counts if settled else None

    return await eventually(closed, within=PATIENCE, what="an account that closes") or {}


@pytest.mark.slow
async def test_clocks_an_hour_wrong(
    redis_server: ServerHandle, namespace: str, start_child: StartChild
) -> None:
    """Ahead, behind, and jumping from one to the other: nothing is different for anyone."""
    fleet = [
        start_child(CHILD, redis_server.url, namespace, str(wrong_by))
        for wrong_by in (HOUR, -HOUR, 0)
    ]
    await leader_of(fleet)
    times = [await child.acall("time") for child in fleet]
    assert times[0] - times[1] > 2 * HOUR - 60
    for wrong_by in (HOUR, -HOUR):
        for child in fleet:
            await child.acall("fail", times=4, circuit="window")
        await become(fleet, "window", "open")
        await become(fleet, "window", "closed")
        for child in fleet:
            await child.acall("fail", times=2, circuit=f"jump {wrong_by}")
        await become(fleet, f"jump {wrong_by}", "open")
        await (await leader_of(fleet)).acall("jump", seconds=-wrong_by)
    for child in fleet:
        counts = await accounts_close(child)
        assert (counts["expired"], counts["dropped"]) == (0, 0)
        assert await child.acall("told") == ""


def test_no_code_asks_for_a_hosts_time_of_day() -> None:
    """`datetime` may read an upstream's dates, which are not compared with a host's. The one place
    that knows the day's clock is `Host.wall`, by which a thawed process sees that it was frozen."""
    asks = re.compile(
        r"\btime\.time|\bfrom time import|\btime_ns\b|\blocaltime|\bgmtime|\bstrftime"
        r"|\bdatetime\.(now|utcnow|today)\b|\bdate\.today\b"
    )
    for file in Path(zenvark_web.__file__).parent.glob("**/*.py"):
        # The demo shows it; prometheus_client's files hold it. Neither decides anything.
        if not {"demo", "metrics"} & set(file.parts):
            known = "wall: Callable[[], float] = time.time\n"
            assert not asks.search(file.read_text().replace(known, "")), file


@pytest.mark.slow
async def test_blocked_leader_is_replaced_and_follows_when_it_wakes(
    redis_server: ServerHandle, namespace: str, start_child: StartChild
) -> None:
    fleet = [start_child(CHILD, redis_server.url, namespace, "0") for _ in range(3)]
    leader = await leader_of(fleet)
    others = [child for child in fleet if child is not leader]
    await leader.acall("fail", times=1, circuit="meanwhile")
    blocked = asyncio.create_task(leader.acall("block", seconds=2.5))
    await leader_of(others)
    for child in others:
        await child.acall("fail", times=2, circuit="meanwhile")
    await become(others, "meanwhile", "open")
    assert not blocked.done()
    await blocked
    await become(fleet, "meanwhile", "open")
    await leader_of(fleet)
    for child in fleet:
        counts = await accounts_close(child)
        assert (counts["expired"], counts["dropped"]) == (0, 0)
    assert not await leader.acall("leads")


@pytest.mark.slow
async def test_starved_instance_takes_part_all_the_same(
    redis_server: ServerHandle, namespace: str, start_child: StartChild
) -> None:
    fleet = [start_child(CHILD, redis_server.url, namespace, "0") for _ in range(3)]
    starved = await leader_of(fleet)
    others = [child for child in fleet if child is not starved]
    for child in fleet:
        await child.acall("fail", times=2, circuit="before")
    began = time.monotonic()
    starving = asyncio.create_task(starved.acall("starve", seconds=2.0, share=0.9))
    for child in others:
        await child.acall("fail", times=3, circuit="meanwhile")
    await become(others, "before", "open")
    await become(others, "meanwhile", "open")
    print(f"decided after {time.monotonic() - began:.2f} s")
    await starving
    await become(fleet, "meanwhile", "open")
    for child in fleet:
        await child.acall("fail", times=2, circuit="after")
    await become(fleet, "after", "open")
    for child in fleet:
        await accounts_close(child)
