"""A coordinator made before a fork, as with `gunicorn --preload`, gave all workers one name. Each
took itself for the leader, and the results of all but one were taken for repetitions."""

from pathlib import Path

from tests.helpers.processes import StartChild
from tests.helpers.servers import ServerHandle
from tests.helpers.waiting import PATIENCE

SERVER = Path(__file__).with_name("forks.py")


def test_forked_workers_are_instances_of_their_own(
    redis_server: ServerHandle, namespace: str, start_child: StartChild
) -> None:
    server = start_child(SERVER, redis_server.url, namespace)
    workers = [server.receive(within=PATIENCE) for _ in range(3)]
    assert all(worker["recovered"] for worker in workers)
    assert sorted(worker["role"] for worker in workers) == ["follower", "follower", "leader"]
    assert len({worker["id"] for worker in workers}) == 3
