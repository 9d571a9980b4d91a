"""What only a backend in Redis promises: what it takes, what it shows, what it leaves behind."""

import asyncio
import re
import traceback
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
import redis
import redis.asyncio
import redis.sentinel

from tests.contract.stores import (
    RedisStore,
    batch,
    lead,
    me,
    override,
    publish,
    told,
    transition,
)
from tests.helpers.servers import RedisServer, ServerHandle
from tests.helpers.waiting import eventually
from zenvark_web import BackendError, Coordinator
from zenvark_web._core.order import Position
from zenvark_web._core.states import CircuitSnapshot
from zenvark_web.backends import RedisBackend
from zenvark_web.backends.base import START, Account, Checkpoint, LeaderChange
from zenvark_web.backends.redis import KEYS

WRITTEN = Checkpoint(Position(7), {"web-1": Account(1, 1)}, {"c": CircuitSnapshot(1)})

SECRET = "s3cret"
UNUSED_PORT = 1


@pytest.fixture
async def store(server: ServerHandle, namespace: str) -> AsyncIterator[RedisStore]:
    """By URL, on each server."""
    store = RedisStore(server, namespace)
    yield store
    await store.close()


def with_pool(kind: type[redis.asyncio.ConnectionPool]) -> redis.asyncio.Redis:
    return redis.asyncio.Redis(connection_pool=kind(max_connections=1))


class TestConstruction:
    @pytest.mark.parametrize(
        "url",
        [
            "",
            "localhost:6379",
            "http://localhost:6379",
            "redis://localhost:port",
            "redis://localhost:99999",
            "redis://localhost?socket_timeout=soon",
        ],
    )
    def test_what_is_no_url_is_refused(self, url: str) -> None:
        with pytest.raises(ValueError, match="'redis://localhost:6379/0'"):
            RedisBackend(url, "test")

    @pytest.mark.parametrize(
        "url",
        [
            "redis+sentinel://localhost",
            "redis+sentinel://localhost/",
            "redis+sentinel:///primary",
            "redis+sentinel://localhost,/primary",
            "redis+sentinel://localhost:0/primary",
            "redis+sentinel://localhost:99999/primary",
            "redis+sentinel://::1/primary",
            "redis+sentinel://localhost/primary/first",
            "unix+sentinel://localhost/primary",
            "http+sentinel://localhost/primary",
            "redis+sentinel://:geheim@localhost",
        ],
    )
    def test_what_is_no_url_of_sentinels_is_refused(self, url: str) -> None:
        with pytest.raises(ValueError, match="'redis\\+sentinel://sentinel-1,") as refused:
            RedisBackend(url, "test")
        assert "geheim" not in str(refused.value)

    @pytest.mark.parametrize(
        ("url", "place"),
        [
            ("redis+sentinel://a/primary", "redis+sentinel://a:26379/primary/0"),
            ("redis+sentinel://u:p@a:1,[::1]/x/3", "redis+sentinel://a:1,[::1]:26379/x/3"),
            ("rediss+sentinel://:p%2F@a/x?ssl_ca_certs=/c", "rediss+sentinel://a:26379/x/0"),
        ],
    )
    def test_a_url_of_sentinels_is_shown_without_credentials(self, url: str, place: str) -> None:
        assert f"<RedisBackend {place} " in repr(RedisBackend(url, "test"))

    @pytest.mark.parametrize(
        "url", ["redis://localhost", "rediss://[::1]:6379/1", "unix:///s.sock"]
    )
    def test_urls_need_no_server_yet(self, url: str) -> None:
        RedisBackend(url, "test")

    @pytest.mark.parametrize("given", [None, 5, redis.Redis(), redis.asyncio.ConnectionPool()])
    def test_what_is_no_client_is_refused(self, given: object) -> None:
        with pytest.raises(TypeError, match="redis must be a URL, a "):
            RedisBackend(given, "test")  # type: ignore[arg-type]

    @pytest.mark.parametrize(
        ("make", "remedy"),
        [
            (redis.Redis, "redis.asyncio"),
            (redis.asyncio.ConnectionPool, "connection_pool=pool"),
            (lambda: redis.asyncio.Sentinel([("localhost", 26379)]), "sentinel.master_for"),
            (lambda: redis.sentinel.Sentinel([("localhost", 26379)]), "redis.asyncio.Sentinel"),
            (lambda: redis.asyncio.Redis().pipeline(), "the client that it was made by"),
        ],
        ids=["synchronous", "pool", "Sentinel", "synchronous Sentinel", "pipeline"],
    )
    def test_what_is_refused_comes_with_what_to_do(
        self, make: Callable[[], object], remedy: str
    ) -> None:
        with pytest.raises(TypeError, match=re.escape(remedy)):
            RedisBackend(make(), "test")  # type: ignore[arg-type]

    @pytest.mark.parametrize(
        ("make", "remedy"),
        [
            (
                lambda: redis.asyncio.Redis(single_connection_client=True),
                "leave that setting out, or give the URL",
            ),
            (lambda: redis.asyncio.Redis(max_connections=1), "raise max_connections to 2"),
            (lambda: with_pool(redis.asyncio.ConnectionPool), "raise max_connections to 2"),
            (lambda: with_pool(redis.asyncio.BlockingConnectionPool), "raise max_connections to 2"),
            (
                lambda: redis.asyncio.RedisCluster(host="localhost", max_connections=1),
                "raise max_connections to 2",
            ),
            (
                lambda: redis.asyncio.Sentinel([("localhost", 26379)]).slave_for("primary"),
                "sentinel.master_for",
            ),
            (lambda: redis.asyncio.Redis(encoding="utf-16"), "make it 'utf-8'"),
        ],
        ids=[
            "single",
            "one",
            "pool of one",
            "blocking pool of one",
            "cluster",
            "replica",
            "utf-16",
        ],
    )
    def test_clients_that_can_never_work_are_refused(
        self, make: Callable[[], Any], remedy: str
    ) -> None:
        with pytest.raises(ValueError, match=re.escape(remedy)):
            RedisBackend(make(), "test")

    def test_each_shard_needs_connections_of_its_own(self) -> None:
        client = redis.asyncio.Redis(max_connections=7)
        with pytest.raises(ValueError, match="raise max_connections to 8"):
            Coordinator(client, shards=4)
        Coordinator(client, shards=3)

    @pytest.mark.parametrize("setting", ["foo=bar", "encoding=utf-16", "ssl_foo=bar"])
    @pytest.mark.parametrize("url", ["redis://localhost", "rediss+sentinel://localhost/primary"])
    def test_urls_with_settings_that_can_never_work_are_refused(
        self, url: str, setting: str
    ) -> None:
        with pytest.raises(ValueError, match="leave it out"):
            RedisBackend(f"{url}?{setting}", "test")

    @pytest.mark.parametrize(
        "make",
        [
            lambda: redis.asyncio.Redis(max_connections=2),
            lambda: redis.asyncio.Redis(protocol=3, decode_responses=True, encoding="latin-1"),
            lambda: redis.asyncio.Sentinel([("localhost", 26379)]).master_for("primary"),
            lambda: redis.asyncio.RedisCluster(host="localhost", decode_responses=True),
        ],
        ids=["two", "decoding", "primary", "cluster"],
    )
    def test_others_are_taken(self, make: Callable[[], Any]) -> None:
        RedisBackend(make(), "test")

    @pytest.mark.parametrize("namespace", ["", "a{b", "a}b", "a\nb", "x" * 256])
    def test_unusable_namespaces_are_refused(self, namespace: str) -> None:
        with pytest.raises(ValueError, match="namespace must"):
            RedisBackend("redis://localhost", namespace)

    def test_namespace_must_be_text(self) -> None:
        with pytest.raises(TypeError, match="namespace must be a string"):
            RedisBackend("redis://localhost", 5)  # type: ignore[arg-type]


class TestSecrets:
    @pytest.mark.parametrize(
        ("url", "shown"),
        [
            (f"redis://web:{SECRET}@localhost:6379/3", "redis://localhost:6379/3"),
            (f"rediss://:{SECRET}@localhost", "rediss://localhost:6379/0"),
            (f"redis://localhost/3?password={SECRET}", "redis://localhost:6379/3"),
            (f"redis://localhost/?db=3&password={SECRET}@x", "redis://localhost:6379/3"),
            (f"unix://web:{SECRET}@/run/redis.sock", "unix:///run/redis.sock"),
            (f"unix:///run/redis.sock?db=1&password={SECRET}", "unix:///run/redis.sock"),
        ],
    )
    def test_backend_shows_where_it_is_and_no_password(self, url: str, shown: str) -> None:
        assert repr(RedisBackend(url, "test")) == f"<RedisBackend {shown} zenvark:{{test}}>"

    @pytest.mark.parametrize(
        "url",
        [
            f"redis://:{SECRET}/x@localhost",
            f"redis://:{SECRET}#x@localhost",
            f"redis://:{SECRET}?x@localhost",
            f"redis://:x@{SECRET}@localhost:port",
            f"http://:{SECRET}@localhost",
            f":{SECRET}@localhost",
            f"redis://localhost?password={SECRET}&db=x&socket_timeout={SECRET}",
        ],
    )
    def test_refusal_shows_nothing_of_it(self, url: str) -> None:
        with pytest.raises(ValueError, match="percent-encoded") as caught:
            RedisBackend(url, "test")
        assert SECRET not in "".join(traceback.format_exception(caught.value))

    @pytest.mark.parametrize("query", [False, True])
    async def test_failure_to_connect_does_not_either(self, query: bool) -> None:
        place = f"127.0.0.1:{UNUSED_PORT}"
        url = f"redis://{place}?password={SECRET}" if query else f"redis://:{SECRET}@{place}"
        backend = RedisBackend(url, "test")
        backend.open()
        with pytest.raises(BackendError) as caught:
            await backend.load()
        assert SECRET not in "".join(traceback.format_exception(caught.value))
        await backend.close()

    async def test_wrong_password_is_told_without_it(self, fresh_server: RedisServer) -> None:
        fresh_server.command("CONFIG", "SET", "requirepass", "right")
        backend = RedisBackend(f"redis://:{SECRET}@127.0.0.1:{fresh_server.port}", "test")
        backend.open()
        for use in (backend.load(), backend.read(START, None, 0)):
            with pytest.raises(BackendError, match=r"(?i)password") as caught:
                await use
            assert SECRET not in "".join(traceback.format_exception(caught.value))
        await backend.close()

        backend = RedisBackend(f"redis://:right@127.0.0.1:{fresh_server.port}", "test")
        backend.open()
        assert (await backend.load()).transitions == ()
        await backend.close()


class TestConnections:
    async def test_are_two_and_gone_after_close(self, store: RedisStore) -> None:
        known = connections(store)
        backend = store.open()
        for _ in range(3):
            waiting = asyncio.create_task(backend.read(START, START, 0.2))
            await asyncio.gather(
                *(backend.append(batch(number)) for number in range(10)),
                backend.load(),
                lead(backend),
                waiting,
            )
        assert len(connections(store) - known) == 2
        await backend.close()
        await eventually(lambda: connections(store) <= known)

    async def test_go_with_a_close_during_a_read(self, store: RedisStore) -> None:
        known = connections(store)
        backend = store.open()
        waiting = asyncio.create_task(backend.read(START, None, 2))
        await eventually(lambda: connections(store, doing="xread") - known)
        await backend.close()
        with pytest.raises(BackendError):
            await waiting
        await eventually(lambda: connections(store) <= known)

    async def test_carry_a_name(self, store: RedisStore) -> None:
        await lead(store.open())
        assert "name=zenvark_web " in str(store.server.command("CLIENT", "LIST"))

    async def test_given_client_stays_open(self, server: ServerHandle, namespace: str) -> None:
        async with redis.asyncio.Redis.from_url(server.url) as client:
            backend = RedisBackend(client, namespace)
            backend.open()
            await lead(backend)
            await backend.close()
            assert await client.ping()
            backend.open()
            assert (await lead(backend)).epoch == 1


def connections(store: RedisStore, doing: str = "") -> set[str]:
    """The ids of those to the store, without the one that asks."""
    with store.server.client() as client:
        own = str(client.client_id())
        rows = [row for row in client.client_list() if row["id"] != own]
        return {row["id"] for row in rows if doing in row["cmd"]}


class TestScripts:
    async def test_survive_that_the_server_forgets_them(self, store: RedisStore) -> None:
        backend = store.open()
        beat = await lead(backend)
        for generation in range(1, 4):
            store.server.command("SCRIPT", "FLUSH")
            assert await publish(backend, transition(beat, generation)) is True
        store.server.command("SCRIPT", "FLUSH")
        await backend.append(batch())
        store.server.command("SCRIPT", "FLUSH")
        assert len((await backend.load()).transitions) == 1
        store.server.command("SCRIPT", "FLUSH")
        await backend.tidy(600, 600)
        store.server.command("SCRIPT", "FLUSH")
        await backend.resign("web-1")

    async def test_are_sent_once(self, store: RedisStore) -> None:
        backend = store.open()
        beat = await lead(backend)
        await publish(backend, transition(beat))
        before = store.server.command_calls()["eval"]
        for generation in range(2, 6):
            await publish(backend, transition(beat, generation))
            await backend.heartbeat(me("web-1"), 30, 0)
        assert store.server.command_calls()["eval"] == before


class TestKeys:
    async def test_all_carry_the_namespace_as_their_hash_tag(self, store: RedisStore) -> None:
        backend = store.open()
        beat = await lead(backend)
        await publish(backend, transition(beat))
        await backend.append(batch())
        await backend.checkpoint(beat, WRITTEN)
        await backend.override(override(), 0)
        await backend.describe({"f00d": "a=1"})
        await backend.unnotified(beat, Position(7), 0)
        found = store.server.command("KEYS", f"*{store.namespace}*")
        assert sorted(found) == sorted(f"zenvark:{{{store.namespace}}}:{name}" for name in KEYS)

    async def test_namespaces_do_not_meet(self, server: ServerHandle, namespace: str) -> None:
        stores = [RedisStore(server, f"{namespace}{more}") for more in ("", "-b", ":states", "*")]
        for number, store in enumerate(stores):
            assert (await lead(store.open(), f"web-{number}")).epoch == 1
        for number, store in enumerate(stores):
            assert await told(store.open()) == [LeaderChange(1, f"web-{number}")]
            await store.close()
