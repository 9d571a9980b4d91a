"""Several processes that answer as one: real ones, writing into one directory."""

import os
import re
import struct
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector, mark_process_dead
from prometheus_client.parser import text_string_to_metric_families as parse

from tests.helpers.processes import ChildProcess, StartChild
from tests.helpers.servers import ServerHandle
from tests.helpers.waiting import PATIENCE, eventually
from tests.metrics.scraping import Scrape
from zenvark_web.metrics import _files
from zenvark_web.metrics._dead import forget_dead_processes
from zenvark_web.metrics._slots import OTHER_CIRCUITS

CALLS = "zenvark_call_duration_seconds"

StartWorker = Callable[..., ChildProcess]


def merged(directory: Path) -> Scrape:
    """What a scrape of any of the processes shows. Of two, should the first come at the moment at
    which a process has made a file and written nothing yet: prometheus-client can't read that."""
    registry = CollectorRegistry()
    MultiProcessCollector(registry, path=str(directory))
    try:
        scraped = generate_latest(registry)
    except struct.error:
        time.sleep(0.1)
        scraped = generate_latest(registry)
    return Scrape(parse(scraped.decode()))


@pytest.fixture
def start_worker(start_child: StartChild, tmp_path: Path, namespace: str) -> StartWorker:
    def start(
        url: str = "",
        *,
        max_breakers: int = 10_000,
        backoff: float = 60,
        strategy: str = "streak",
        max_circuits: int = 1_000,
        histograms: bool = True,
        budget: float = _files.BUDGET,
    ) -> ChildProcess:
        worker = start_child(
            "tests.metrics.worker",
            url,
            namespace,
            str(max_breakers),
            str(backoff),
            strategy,
            str(max_circuits),
            str(histograms),
            str(budget),
            env={"PROMETHEUS_MULTIPROC_DIR": str(tmp_path)},
        )
        worker.call("start", within=30)
        return worker

    return start


def add(one: list[float], other: list[float]) -> list[float]:
    return [a + b for a, b in zip(one, other, strict=True)]


async def test_numbers_of_two_processes_add_up(
    start_worker: StartWorker, redis_server: ServerHandle, tmp_path: Path, namespace: str
) -> None:
    # Opens with the last of these calls, in whichever order the two report them.
    one, two = (start_worker(redis_server.url, strategy="window") for _ in range(2))
    one.call("call", circuit="payments", times=7)
    one.call("call", circuit="payments", seconds=0.03)
    two.call("call", circuit="payments", times=4)
    one.call("call", circuit="payments", failing=True, times=2)
    two.call("call", circuit="payments", failing=True, times=5)
    for worker in (one, two):
        await eventually(lambda worker=worker: worker.call("state", circuit="payments") == "open")
        worker.call("call", circuit="payments", times=3)

    its, other = (worker.call("numbers", circuit="payments") for worker in (one, two))
    assert (its["blocked"], other["blocked"]) == (3, 3)

    def check(scraped: Scrape) -> None:
        labels = {"breaker_id": "payments", "service": "shop"}
        for result in ("success", "failure"):
            counts = add(its[result][0], other[result][0])
            assert scraped.buckets(CALLS, result=result, **labels) == counts
            assert scraped.value(f"{CALLS}_count", result=result, **labels) == sum(counts)
            total = its[result][1] + other[result][1]
            assert scraped.value(f"{CALLS}_sum", result=result, **labels) == pytest.approx(total)
        assert scraped.value("zenvark_blocked_requests_total", **labels) == 6
        assert scraped.value("zenvark_transitions_total") == 1
        assert scraped.value("zenvark_transition_delay_seconds_count") == 2
        assert set(scraped.values("zenvark_errors_total", "error").values()) == {0}

    def written() -> bool:
        """Whether both have written since the last call; the gauges are what they write last."""
        seen = merged(tmp_path)
        return (
            sum(seen.values("zenvark_blocked_requests_total", "breaker_id").values()) == 6
            and sum(seen.values("zenvark_connected", "service").values()) == 2
            and seen.values("zenvark_role", "role") == {"leader": 1, "follower": 1}
            and seen.values("zenvark_state", "state") == {"closed": 0, "open": 1, "half_open": 0}
        )

    await eventually(written, within=PATIENCE)
    check(merged(tmp_path))

    own = Scrape(parse(one.call("own")))  # as with prometheus_client's own metrics
    assert own.buckets(CALLS, result="failure") == its["failure"][0]

    one.call("stop")
    seen = merged(tmp_path)
    check(seen)
    assert sum(seen.values("zenvark_role", "role").values()) == 1
    assert seen.value("zenvark_connected") == 1

    assert one.stop() == 0
    two.kill()
    check(merged(tmp_path))
    # What a killed process said of itself goes when the server says that it is dead.
    assert merged(tmp_path).value("zenvark_connected") == 1
    mark_process_dead(two.pid, str(tmp_path))
    check(merged(tmp_path))
    assert merged(tmp_path).value("zenvark_connected") == 0
    assert merged(tmp_path).series("zenvark_state") == []


def test_nothing_is_missing_after_a_stop(start_worker: StartWorker, tmp_path: Path) -> None:
    """Nor counted twice, though it is started again and again."""
    worker = start_worker()
    for times in (1, 2, 3):
        worker.call("call", circuit="payments", times=times)
        worker.call("stop")
        worker.call("start")
    worker.call("stop")
    seen = merged(tmp_path)
    assert seen.value(f"{CALLS}_count", result="success") == 6
    assert seen.value("zenvark_batches_total") == 3
    assert seen.value("zenvark_connected") == 0
    assert seen.series("zenvark_state") == []


@pytest.mark.slow
async def test_each_number_is_written_when_it_alone_has_changed(
    start_worker: StartWorker, tmp_path: Path
) -> None:
    worker = start_worker()

    def written() -> list[float]:
        worker.call("stop")
        worker.call("start")
        seen = merged(tmp_path)
        return [
            seen.value(f"{CALLS}_count", result="success"),
            seen.value(f"{CALLS}_count", result="failure"),
            seen.value("zenvark_blocked_requests_total"),
        ]

    worker.call("call", circuit="payments")
    assert written() == [1, 0, 0]
    worker.call("call", circuit="payments", failing=True, times=5)
    assert written() == [1, 5, 0]
    await eventually(lambda: worker.call("state", circuit="payments") == "open")
    worker.call("call", circuit="payments", times=2)
    assert written() == [1, 5, 2]


@pytest.mark.slow
async def test_a_process_that_knows_nothing_yet_is_not_believed(
    start_worker: StartWorker, tmp_path: Path
) -> None:
    knows = start_worker()
    knows.call("call", circuit="payments", failing=True, times=5)
    await eventually(lambda: knows.call("state", circuit="payments") == "open")
    await eventually(lambda: state(tmp_path)["open"] == 1, within=PATIENCE)
    fresh = start_worker()
    fresh.call("call", circuit="payments")
    await eventually(
        lambda: merged(tmp_path).value(f"{CALLS}_count", result="success") == 1, within=PATIENCE
    )
    assert state(tmp_path) == {"closed": 0, "open": 1, "half_open": 0}
    knows.call("stop")
    await eventually(
        lambda: state(tmp_path) == {"closed": 1, "open": 0, "half_open": 0}, within=PATIENCE
    )


@pytest.mark.slow
async def test_the_state_told_last_is_shown(start_worker: StartWorker, tmp_path: Path) -> None:
    """Also against a process that was killed, however far its circuit had got: generations begin
    anew when a circuit is forgotten."""

    async def trip(worker: ChildProcess) -> None:
        worker.call("call", circuit="payments", failing=True, times=5)
        await eventually(lambda: worker.call("state", circuit="payments") == "open")

    async def recover(worker: ChildProcess) -> None:
        await eventually(lambda: worker.call("call", circuit="payments") == "closed")

    killed, lives = start_worker(backoff=0.05), start_worker(backoff=0.05)
    await trip(killed)
    await recover(killed)
    await trip(killed)
    await eventually(lambda: state(tmp_path).get("closed") == 0, within=PATIENCE)
    killed.kill()
    await trip(lives)
    await recover(lives)
    await eventually(
        lambda: state(tmp_path) == {"closed": 1, "open": 0, "half_open": 0}, within=PATIENCE
    )


def state(directory: Path) -> dict[str, float]:
    return {"open": 0, **merged(directory).values("zenvark_state", "state")}


async def test_evicted_breakers(start_worker: StartWorker, tmp_path: Path) -> None:
    """Their states go; what they counted stays, also when they come back."""

    def calls() -> dict[str, float]:
        return merged(tmp_path).values(f"{CALLS}_count", "breaker_id", result="success")

    def circuits() -> set[str]:
        return set(merged(tmp_path).values("zenvark_state", "breaker_id", state="closed"))

    async def evict(circuit: str, other: str) -> None:
        def gone() -> bool:  # as soon as its results have been sent
            worker.call("state", circuit=other)
            return f'breaker_id="{circuit}"' not in worker.call("own")

        await eventually(gone, within=PATIENCE)
        await eventually(lambda: circuits() == {other}, within=PATIENCE)

    worker = start_worker(max_breakers=1)
    worker.call("call", circuit="a", times=3)
    await eventually(lambda: calls() == {"a": 3}, within=PATIENCE)
    worker.call("call", circuit="a", times=4)  # seldom written before it is evicted
    await evict("a", "b")
    assert calls() == {"a": 7, "b": 0}
    await evict("b", "a")
    worker.call("call", circuit="a", times=2)
    worker.call("stop")
    assert calls() == {"a": 9, "b": 0}


async def test_series_are_bounded(start_worker: StartWorker, tmp_path: Path) -> None:
    worker = start_worker(max_circuits=10)
    for circuit in range(30):
        worker.call("call", circuit=f"c{circuit}")
    worker.call("call", circuit="c0", times=5)
    worker.call("call", circuit="c29", times=7)
    worker.call("stop")
    worker.call("start")
    worker.call("call", circuit="c29", times=2)
    worker.call("stop")
    seen = merged(tmp_path)
    calls = seen.values(f"{CALLS}_count", "breaker_id", result="success")
    assert len(calls) == 11
    assert sum(calls.values()) == 30 + 5 + 7 + 2
    assert calls[OTHER_CIRCUITS] >= 20
    for name in ("zenvark_blocked_requests_total", "zenvark_openings_total"):
        shown = {labels["breaker_id"] for labels, _ in seen.series(name)}
        assert shown == calls.keys()


@pytest.mark.slow
async def test_a_circuit_without_series_is_seen_while_it_is_open(
    start_worker: StartWorker, tmp_path: Path
) -> None:
    worker = start_worker(max_circuits=2, backoff=0.05)

    def states() -> dict[str, float]:
        return merged(tmp_path).values("zenvark_state", "breaker_id", state="closed")

    for circuit in ("a", "b"):
        worker.call("call", circuit=circuit)
        await eventually(lambda circuit=circuit: circuit in states(), within=PATIENCE)
    for circuit in ("late", "c"):
        worker.call("call", circuit=circuit)
    await eventually(lambda: states() == {"a": 1, "b": 1, OTHER_CIRCUITS: 1}, within=PATIENCE)
    for circuit in ("late", "c", "d", "e"):
        worker.call("call", circuit=circuit, failing=True, times=5)
    # Two have a state of their own for now; that of the others is the worst there is.
    await eventually(lambda: len(states()) == 5, within=PATIENCE)
    assert states()[OTHER_CIRCUITS] == 0
    openings = merged(tmp_path).values("zenvark_openings_total", "breaker_id", cause="tripped")
    assert openings == {"a": 0, "b": 0, OTHER_CIRCUITS: 4}

    def all_recover() -> bool:
        return all(worker.call("call", circuit=c) == "closed" for c in ("late", "c", "d", "e"))

    await eventually(all_recover)
    await eventually(lambda: states() == {"a": 1, "b": 1, OTHER_CIRCUITS: 1}, within=PATIENCE)


@pytest.mark.slow
async def test_an_open_circuit_without_series_is_not_hidden_by_another_process(
    start_worker: StartWorker, tmp_path: Path
) -> None:
    """For which all those without series are closed, and which says so later."""
    knows = start_worker(max_circuits=1)
    for circuit in ("a", "b", "c"):
        knows.call("call", circuit=circuit, failing=True, times=5)
    await eventually(lambda: knows.call("state", circuit="c") == "open")
    fresh = start_worker(max_circuits=1)
    for circuit in ("x", "y", "z"):
        fresh.call("call", circuit=circuit)

    def opened(circuit: str) -> list[float]:
        found = merged(tmp_path).series("zenvark_state", breaker_id=circuit, state="open")
        return [value for _, value in found]

    shown = [f"{name}" for name in ("x", "y", "z")]
    await eventually(lambda: any(opened(name) == [0] for name in shown), within=PATIENCE)
    await eventually(lambda: opened(OTHER_CIRCUITS) == [1], within=PATIENCE)


async def test_health_checks_are_written_as_they_are_made(
    start_worker: StartWorker, tmp_path: Path
) -> None:
    worker = start_worker(max_circuits=2)

    def checks(result: str) -> dict[str, float]:
        name = "zenvark_healthcheck_duration_seconds_count"
        return merged(tmp_path).values(name, "breaker_id", result=result)

    for circuit in ("a", "b", "a", "c", "b", "a"):
        worker.call("check", circuit=circuit, passed=True)
    await eventually(lambda: sum(checks("success").values()) == 6, within=PATIENCE)
    worker.call("check", circuit="b", passed=False)
    worker.call("check", circuit="b", passed=True)
    worker.call("check", circuit="late", passed=True)
    await eventually(lambda: checks("failure") == {"b": 1}, within=PATIENCE)
    assert checks("success").get("b", 0) == 3
    assert sum(checks("success").values()) == 8


async def test_without_histograms(start_worker: StartWorker, tmp_path: Path) -> None:
    worker = start_worker(histograms=False)
    worker.call("call", circuit="payments", times=3)
    worker.call("call", circuit="payments", failing=True, times=2)
    worker.call("stop")
    seen = merged(tmp_path)
    assert seen.values(f"{CALLS}_count", "result") == {"success": 3, "failure": 2}
    assert seen.value(f"{CALLS}_sum", result="success") > 0
    assert seen.series(f"{CALLS}_bucket") == []


async def test_who_lives_takes_back_what_the_killed_said(
    start_worker: StartWorker, redis_server: ServerHandle, tmp_path: Path
) -> None:
    """Uvicorn has no place to call `mark_process_dead`."""
    one, two = (start_worker(redis_server.url) for _ in range(2))
    two.call("call", circuit="payments")

    def connected() -> float:
        return sum(value for _, value in merged(tmp_path).series("zenvark_connected"))

    await eventually(lambda: connected() == 2, within=PATIENCE)
    two.kill()
    await eventually(lambda: connected() == 1, within=PATIENCE)
    seen = merged(tmp_path)
    assert sum(seen.values("zenvark_role", "role").values()) == 1
    assert seen.series("zenvark_state", breaker_id="payments") == []
    assert seen.value(f"{CALLS}_count", result="success", breaker_id="payments") == 1
    assert one.call("role") in {"leader", "follower"}


def test_files_that_name_no_process_are_left_alone(tmp_path: Path) -> None:
    """prometheus_client lets a server number its workers instead."""
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    kept = [tmp_path / f"gauge_livesum_{number}.db" for number in (dead.pid, "web-1")]
    kept += [tmp_path / f"counter_{dead.pid}.db", tmp_path / f"gauge_all_{dead.pid}.db"]
    for path in kept:
        path.touch()
    forget_dead_processes(tmp_path)
    assert all(path.exists() for path in kept)

    own = [tmp_path / f"gauge_livesum_{pid}.db" for pid in (os.getpid(), 1)]
    for path in own:
        path.touch()
    forget_dead_processes(tmp_path)
    assert [path for path in kept if not path.exists()] == kept[:1]
    assert all(path.exists() for path in own)


@pytest.mark.slow
async def test_many_breakers_are_written_in_portions(
    start_worker: StartWorker, tmp_path: Path
) -> None:
    """No more than a moment of the event loop at a time; in the end all are there."""
    worker = start_worker(budget=0.0)
    for circuit in range(5):
        worker.call("call", circuit=f"c{circuit}", times=2)

    def calls() -> dict[str, float]:
        return merged(tmp_path).values(f"{CALLS}_count", "breaker_id", result="success")

    await eventually(lambda: 0 < len(calls()) < 5, within=PATIENCE)
    await eventually(lambda: calls() == dict.fromkeys(map("c{}".format, range(5)), 2))
    worker.call("call", circuit="c3")
    worker.call("stop")  # what is left goes at once
    assert calls()["c3"] == 3


def test_after_a_fork(start_child: StartChild, tmp_path: Path) -> None:
    """What was counted before it counts once, and not again for each worker."""
    server = start_child("tests.metrics.forks", env={"PROMETHEUS_MULTIPROC_DIR": str(tmp_path)})
    assert server.stop(within=PATIENCE) == 0, server.stderr
    assert len(list(tmp_path.glob("histogram_*.db"))) == 3
    assert merged(tmp_path).value(f"{CALLS}_count", result="success") == 3 + 4 + 5


@pytest.mark.slow
async def test_uvicorn_with_two_workers(
    start_child: StartChild, redis_server: ServerHandle, tmp_path: Path, namespace: str
) -> None:
    server = start_child(
        "uvicorn",
        *("tests.metrics.app:app", "--workers", "2", "--port", "0"),
        env={
            "PROMETHEUS_MULTIPROC_DIR": str(tmp_path),
            "REDIS_URL": redis_server.url,
            "NAMESPACE": namespace,
        },
    )
    try:
        port = await eventually(lambda: re.search(r"127.0.0.1:(\d+)", server.stderr))
        await eventually(lambda: server.stderr.count("startup complete") == 2)
        base = f"http://127.0.0.1:{port[1]}"
        answered: dict[str, int] = {}

        async def both_have_worked() -> bool:
            async with httpx.AsyncClient(base_url=base) as client:
                pid = (await client.get("/pay")).text
            answered[pid] = answered.get(pid, 0) + 1
            return len(answered) == 2

        await eventually(both_have_worked)

        async def scraped() -> Any:
            async with httpx.AsyncClient(base_url=base) as client:
                seen = Scrape(parse((await client.get("/metrics")).text))
            calls = seen.series(f"{CALLS}_count", result="success")
            return calls and calls[0][1] == sum(answered.values()) and seen

        seen = await eventually(scraped, within=PATIENCE)
        assert seen.values("zenvark_role", "role") == {"leader": 1, "follower": 1}
    finally:
        server.terminate(within=PATIENCE)
    seen = merged(tmp_path)
    assert seen.value(f"{CALLS}_count", result="success") == sum(answered.values())
    assert seen.value("zenvark_connected") == 0
