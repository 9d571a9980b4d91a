"""The permissions that docs/deployment.md names are enough, and none of them is too many."""

import re
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from redis.asyncio import RedisCluster
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from tests.contract.stores import batch, forget, lead, me, publish, recall, transition
from tests.faults.fleet import Fleet
from tests.helpers.clients import close_client
from tests.helpers.servers import RedisServer, ServerHandle
from zenvark_web import BackendError
from zenvark_web._core.order import Position
from zenvark_web._core.states import CircuitSnapshot
from zenvark_web.backends import Backend, RedisBackend
from zenvark_web.backends._slices import whole
from zenvark_web.backends.base import START, Account, Checkpoint

WRITTEN = Checkpoint(Position(7), {"web-1": Account(1, 1)}, {"c": CircuitSnapshot(1)})

PAGE = (Path(__file__).parents[2] / "docs/deployment.md").read_text()
[LINE] = re.findall(r"^ACL SETUSER shop .*$", PAGE, re.MULTILINE)
[KEYS_OF_SHARDS] = re.findall(r"`(~zenvark:\{shop/\S+)`", PAGE)
[OF_A_CLUSTER] = re.findall(r"`RedisCluster` client also needs `([^`]+)`", PAGE)

NEEDED = re.findall(r"\+\S+", LINE)
NEEDED_OF_A_CLUSTER = re.findall(r"\+\S+", OF_A_CLUSTER)

pytestmark = pytest.mark.usefixtures("soon", "lasting")


def permit(server: ServerHandle, namespace: str, *, but: str = "", more: Sequence[str] = ()) -> str:
    """Make the user of the page, for this namespace; tells the URL of it."""
    server.command("ACL", "DELUSER", "shop")
    line = LINE.replace("{shop}", f"{{{namespace}}}")
    server.command(*[word for word in (*line.split(), *more) if word != but])
    return server.url.replace("redis://", "redis://shop:secret@")


def denied(server: ServerHandle) -> set[str]:
    """What somebody tried who may not."""
    log = [
        dict(zip(entry[::2], entry[1::2], strict=True)) for entry in server.command("ACL", "LOG")
    ]
    return {entry["object"] for entry in log}


async def test_enough(server: ServerHandle, namespace: str) -> None:
    server.command("ACL", "LOG", "RESET")
    url = permit(server, namespace)
    async with Fleet(url_of(url), url_of(url), namespace=namespace) as fleet:
        await fleet.works()
        server.command("SCRIPT", "FLUSH")
        await fleet.works()
        await fleet.accounts_close(lost=False)
        assert not fleet.unexcused()
    assert denied(server) <= {"client|setinfo", "client"}  # Redis 6.2 names no subcommand


async def test_enough_with_shards(server: ServerHandle, namespace: str) -> None:
    url = permit(server, f"{namespace}/0", more=[KEYS_OF_SHARDS.replace("shop", namespace)])
    async with Fleet(url_of(url), url_of(url), namespace=namespace, shards=3) as fleet:
        for _ in range(4):
            await fleet.works()
        assert not fleet.unexcused()


def url_of(url: str) -> Callable[[], str]:
    return lambda: url


async def everything(backend: Backend) -> None:
    """Every call there is, each with its whole effect."""
    beat = await lead(backend)
    await backend.append(batch())
    opened = transition(beat)
    await publish(backend, opened)
    await backend.checkpoint(beat, WRITTEN)
    known = await backend.heartbeat(me("web-1"), 10, 0)
    assert known.news is not None
    assert known.news.account == Account(1, 1)
    await backend.heartbeat(me("web-2"), 10, 0)
    snapshot = await backend.load(leading=True)
    assert snapshot.checkpoint == WRITTEN
    assert snapshot.transitions
    assert await whole(backend._script, "circuits") if isinstance(backend, RedisBackend) else True
    assert await backend.read(START, START, 0)
    if isinstance(backend, RedisBackend):
        view = backend.view()
        survey = await view.survey(START, names=True)
        assert survey.lease
        assert survey.instances
        assert survey.news
        assert survey.called
        assert (await view.circuit("payments", 0, 5)).current == opened
        assert await view.entries(START, 5)
    await recall(backend, opened)
    await forget(backend, opened)
    await backend.tidy(600, -1)
    assert not (await backend.load(leading=True)).checkpoint.accounts
    await backend.resign("web-1")


async def breaks(backend: Backend) -> bool:
    """Whether something does not work that should."""
    backend.open()
    try:
        await everything(backend)
    except (BackendError, AssertionError):
        return True
    finally:
        await backend.close()
    return False


@pytest.mark.parametrize("but", ["", *NEEDED])
async def test_none_too_many(but: str, server: ServerHandle, namespace: str) -> None:
    url = permit(server, namespace, but=but)
    server.command("SCRIPT", "FLUSH")
    assert await breaks(RedisBackend(url, namespace)) is (but != "")


async def test_keys_of_others_are_out_of_reach(server: ServerHandle, namespace: str) -> None:
    assert await breaks(RedisBackend(permit(server, namespace), "another"))


async def test_cluster(namespace: str) -> None:
    with RedisServer(cluster=True) as server:
        for but in ["", *NEEDED_OF_A_CLUSTER]:
            permit(server, namespace, but=but, more=NEEDED_OF_A_CLUSTER)
            client = RedisCluster(
                "127.0.0.1",
                server.port,
                username="shop",
                password="secret",
                retry=Retry(NoBackoff(), 0),
            )
            server.command("FLUSHALL")
            assert await breaks(RedisBackend(client, namespace)) is (but != ""), but
            await close_client(client)
