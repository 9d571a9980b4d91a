"""One notification for each transition of the fleet, whichever instance leads."""

import pytest

from tests.cluster.fleet import StartFleet, split
from tests.cluster.store import Store
from tests.helpers.servers import ServerHandle
from tests.helpers.waiting import PATIENCE, eventually

THIRD = 334
ALL = 1_000


@pytest.mark.slow
async def test_a_thousand_transitions_and_two_takeovers(
    redis_server: ServerHandle, namespace: str, store: Store, start_fleet: StartFleet
) -> None:
    """One leader stops in the middle of its notifications; the next one is killed."""
    key = f"notes:{namespace}"
    fleet = await start_fleet(3, threshold=1, wait=60, lease_ttl=1.0, notes=key)

    with redis_server.client() as client:

        def notes() -> list[str]:
            return client.lrange(key, 0, -1)

        leader, others = await split(fleet)
        await others[0].fail_each(0, THIRD)
        await eventually(lambda: len(notes()) > 50, within=PATIENCE, what="notifications")
        await leader.stop()
        between = len(notes())
        leader, [last] = await split(others)
        await eventually(lambda: len(notes()) == THIRD, within=PATIENCE, what="all of them")
        assert between < THIRD

        await last.fail_each(THIRD, 2 * THIRD)
        await eventually(lambda: len(notes()) == 2 * THIRD, within=PATIENCE, what="all of them")
        newest = notes()[-1].rpartition(" ")[2]
        await eventually(lambda: store.notified() == newest, within=PATIENCE, what="the record")
        leader.process.kill()
        await last.fail_each(2 * THIRD, ALL)
        await eventually(lambda: len(notes()) >= ALL, within=PATIENCE, what="all of them")
        await last.stop()  # after which nothing comes any more
        assert sorted(note.rpartition(" ")[0] for note in notes()) == sorted(
            f"circuit-{number} 1" for number in range(ALL)
        )
        assert len({note.rpartition(" ")[2] for note in notes()}) == ALL
        client.delete(key)
