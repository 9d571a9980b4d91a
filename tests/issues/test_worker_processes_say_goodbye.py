"""Worker processes of multiprocessing end without exit handlers when they were forked: their last
results were lost, and their lease kept. And an instance had its name since it was made: copies of
one process image shared it, and would all have led."""

import asyncio
import json
import subprocess
import sys
import textwrap
import time
from itertools import product
from pathlib import Path

import pytest

from tests.cluster.store import Store
from tests.helpers.inside import state_of
from tests.helpers.servers import ServerHandle
from tests.helpers.spanning import spanning
from tests.helpers.waiting import PATIENCE, eventually, eventually_sync
from zenvark_web import (
    Breaker,
    BreakerPolicy,
    CircuitOpenError,
    ConstantBackoff,
    Coordinator,
    MemoryBackend,
    Outcome,
    Role,
    State,
)
from zenvark_web._runtime.host import Host

PROGRAM = """
    import concurrent.futures, multiprocessing, sys, time
    from zenvark_web import Coordinator, Role

    def work(url, namespace):
        coordinator = Coordinator(url, namespace=namespace)
        coordinator.__enter__()
        while coordinator.role is not Role.LEADER:
            time.sleep(0.01)
        for _ in range(3):
            coordinator.breaker("upstream").execute_sync(int)

    if __name__ == "__main__":
        method, kind, *where = sys.argv[1:]
        context = multiprocessing.get_context(method)
        if kind == "Process":
            process = context.Process(target=work, args=where)
            process.start()
            process.join()
        elif kind == "Pool":
            with context.Pool(1) as pool:
                pool.starmap(work, [where])
                pool.close()
                pool.join()
        else:
            with concurrent.futures.ProcessPoolExecutor(1, mp_context=context) as executor:
                executor.submit(work, *where).result()
"""


@pytest.mark.parametrize(
    ("method", "kind"),
    spanning(
        product(["fork", "forkserver", "spawn"], ["Process", "Pool", "ProcessPoolExecutor"]),
        {("fork", "Process"), ("spawn", "Pool"), ("forkserver", "ProcessPoolExecutor")},
    ),
)
def test_workers_of_multiprocessing(
    method: str, kind: str, redis_server: ServerHandle, namespace: str, tmp_path: Path
) -> None:
    program = tmp_path / "program.py"
    program.write_text(textwrap.dedent(PROGRAM))
    done = subprocess.run(
        [sys.executable, "-W", "ignore", program, method, kind, redis_server.url, namespace],
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    store = Store(redis_server, namespace)
    assert store.reported("upstream") == {"successes": 3}
    assert store.leader() is None


def test_workers_whose_program_runs_one_as_well(
    redis_server: ServerHandle, namespace: str, tmp_path: Path
) -> None:
    """The child ends its own, and nothing of its parent's."""
    program = tmp_path / "program.py"
    program.write_text(
        textwrap.dedent("""
            import json, multiprocessing, sys
            from zenvark_web import Coordinator

            coordinator = Coordinator(*sys.argv[1:2], namespace=sys.argv[2])

            def work():
                assert not coordinator.running
                coordinator.__enter__()
                coordinator.breaker("upstream").execute_sync(int)

            if __name__ == "__main__":
                with coordinator:
                    name = coordinator.instance_id
                    for _ in range(2):
                        child = multiprocessing.get_context("fork").Process(target=work)
                        child.start()
                        child.join()
                    coordinator.breaker("upstream").execute_sync(int)
                    print(json.dumps([child.exitcode, coordinator.instance_id == name]))
        """)
    )
    done = subprocess.run(
        [sys.executable, "-W", "ignore", program, redis_server.url, namespace],
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert json.loads(done.stdout) == [0, True], done.stderr
    store = Store(redis_server, namespace)
    assert store.reported("upstream") == {"successes": 3}
    assert store.leader() is None


# Names


def name_of(coordinator: Coordinator) -> str:
    return state_of(coordinator).identity.name


async def test_a_name_is_taken_with_the_start() -> None:
    coordinator = Coordinator()
    assert "instance=None" in repr(coordinator)
    assert name_of(coordinator) == ""
    names: list[str] = []
    for _ in range(2):
        async with coordinator:
            await eventually(lambda: coordinator.role is Role.LEADER)
            names.append(name_of(coordinator))
    assert names[0]
    assert names[0] != names[1], "a copy of the image, made in between, would share it"


async def test_a_name_stays_that_was_asked_for() -> None:
    coordinator = Coordinator()
    name = coordinator.instance_id
    for _ in range(2):
        async with coordinator:
            await eventually(lambda: coordinator.role is Role.LEADER)
            assert coordinator.instance_id == name_of(coordinator) == name


async def test_a_name_does_not_stay_in_a_copy_of_the_machine() -> None:
    """Images are taken of machines that stand still: the day's clock goes on meanwhile."""
    frozen = 0.0

    class OnMachine(Coordinator):
        _host = Host(wall=lambda: time.time() + frozen)

    coordinator = OnMachine()
    name = coordinator.instance_id
    frozen = 60.0
    async with coordinator:
        assert coordinator.instance_id != name


async def test_a_name_stays_while_results_are_accounted_for_under_it() -> None:
    coordinator = Coordinator(MemoryBackend())
    for _ in range(2):
        async with coordinator:
            coordinator.breaker("upstream").acquire().record(Outcome.SUCCESS)
        name = name_of(coordinator)
    async with coordinator:
        assert name_of(coordinator) == name
        statistics = coordinator.statistics
        await eventually(lambda: statistics.evaluated == 2, within=PATIENCE)
    assert (statistics.dropped, statistics.expired) == (0, 0)


async def test_circuits_made_before_the_start_recognise_their_grants() -> None:
    """The holder of a grant is told by its name, which they must have learned."""
    coordinator = Coordinator(policy=BreakerPolicy(backoff=ConstantBackoff(0.05)))
    breaker = coordinator.breaker("early")
    for _ in range(2):
        async with coordinator:
            await recovers(breaker)


async def recovers(breaker: Breaker) -> None:
    generation = breaker.generation
    for _ in range(5):
        breaker.acquire().record(Outcome.FAILURE)
    await eventually(lambda: breaker.generation > generation)

    async def passes() -> bool:
        try:
            await breaker.execute(asyncio.sleep, 0)
        except CircuitOpenError:
            return False
        return breaker.state is State.CLOSED

    await eventually(passes, within=PATIENCE)


def test_copies_of_one_image_have_names_of_their_own(
    redis_server: ServerHandle, namespace: str
) -> None:
    """As if the process had been cloned: what it was made with is the same in both."""
    one = Coordinator(redis_server.url, namespace=namespace)
    other = Coordinator(redis_server.url, namespace=namespace)
    state_of(other).identity.name = state_of(one).identity.name
    with one, other:
        assert one.instance_id != other.instance_id
        eventually_sync(
            lambda: sorted([one.role, other.role]) == ["follower", "leader"], within=PATIENCE
        )
