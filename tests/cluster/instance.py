"""One instance of a fleet, in a process of its own, told by a test what to do.

`tests.cluster.fleet` is the test's side.
"""

import asyncio
import gc
import logging
import os
import signal
import threading
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import redis.asyncio

from tests.cluster.settings import Settings
from tests.cluster.traffic import Counts, Traffic, UpstreamError
from tests.helpers.child import serve
from zenvark_web import (
    Breaker,
    BreakerPolicy,
    BreakerTransport,
    CircuitOpenError,
    ConsecutiveFailures,
    Coordinator,
    CountWindow,
    ExponentialBackoff,
    HealthCheckType,
    Outcome,
    Override,
    Permit,
    PublishedChange,
    Role,
    StateChange,
)
from zenvark_web._coordination import election
from zenvark_web._core import trial
from zenvark_web._judging import leader

# What is told of trouble that the tests make has tracebacks, which are no trouble of the process.
logging.getLogger("zenvark_web").addHandler(logging.NullHandler())
logging.getLogger("zenvark_web").propagate = False

_LOOK = 0.005


class Instance:
    """A coordinator and the commands that drive it; each public method is one."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._events: list[tuple[float, str, str]] = []
        self._traffic: dict[str, Traffic] = {}
        self._unwell: set[str] = set()
        self._hung: list[Permit] = []
        self._asked: list[tuple[float, float]] = []
        trial.TIME_TO_USE = settings.time_to_use
        leader.TIDY_INTERVAL = election.ANNOUNCE_INTERVAL = settings.housekeeping
        self._coordinator = Coordinator(
            settings.url,
            namespace=settings.namespace,
            lease_ttl=settings.lease_ttl,
            shards=settings.shards,
            policy=BreakerPolicy(
                strategy=_strategy(settings),
                slow_call=settings.slow_call,
                backoff=ExponentialBackoff(settings.wait, settings.multiplier, 60, jitter=0),
                trial_calls=settings.trial_calls,
                ramp=settings.ramp,
                ramp_step=settings.ramp_step,
                health_check=self._check if settings.health_check else None,
            ),
            on_error=self._failed,
            on_state_change=self._changed,
            on_role_change=self._moved,
            on_published=self._published if settings.notes else None,
        )
        self._notes = redis.asyncio.Redis.from_url(settings.url)
        self._plain = self._client(_transport())
        self._guarded = self._client(BreakerTransport(self._coordinator, _transport()))

    def identify(self) -> str:
        return self._coordinator.instance_id

    async def start(self) -> None:
        await self._coordinator.start()

    async def stop(self) -> None:
        await self._coordinator.stop()

    async def start_and_call(self, circuit: str) -> str:
        await self._coordinator.start()
        return await self._one(circuit, _succeed)

    async def fail(self, circuit: str, count: int) -> dict[str, int]:
        return await self._several(circuit, count, _fail)

    async def fail_each(self, first: int, last: int) -> None:
        """Make one call that fails on each of these circuits."""
        for number in range(first, last):
            await self._one(f"circuit-{number}", _fail)

    async def succeed(self, circuit: str, count: int) -> dict[str, int]:
        return await self._several(circuit, count, _succeed)

    def hang(self, circuit: str, count: int) -> None:
        """Begin calls that do not end before `let_go`."""
        self._hung += [self._breaker(circuit).acquire() for _ in range(count)]

    def let_go(self, retry_after: float | None = None) -> None:
        """End the calls that hang: they failed, and this is what the upstream asked for."""
        for permit in self._hung:
            permit.record(Outcome.FAILURE, "HTTP 503", retry_after=retry_after)
        self._hung.clear()

    def retry_after(self, circuit: str) -> float:
        return self._breaker(circuit).retry_after

    async def fail_and_stop(self, circuit: str) -> None:
        await self._one(circuit, _fail)
        await self._coordinator.stop()

    def fail_and_pause(self, circuit: str, count: int) -> None:
        """Fail, and stop this very process before its loop can send anything."""
        for _ in range(count):
            with suppress(UpstreamError):
                self._breaker(circuit).execute_sync(_fail_sync)
        os.kill(os.getpid(), signal.SIGSTOP)

    async def override(self, circuit: str, mode: str | None, expires_in: float | None) -> int:
        """Set or lift an override; tells its number."""
        record = await self._coordinator.override(
            circuit,
            None if mode is None else Override(mode),
            reason="a test",
            actor="test",
            expires_in=expires_in,
        )
        return record.number

    def overridden(self, circuit: str) -> str | None:
        override = self._breaker(circuit).override
        return None if override is None else override.mode

    async def work(self, circuits: int, calls: int, seconds: float) -> None:
        """Make successful calls, spread evenly over circuits and time."""
        began, made = time.monotonic(), 0
        while made < calls:
            due = min(calls, round((time.monotonic() - began) / seconds * calls))
            for number in range(made, due):
                self._breaker(f"circuit-{number % circuits}").execute_sync(int)
            made = due
            await asyncio.sleep(0.001)

    def use(self, circuits: int) -> int:
        """Make one call on each of so many circuits; tells how many breakers are kept."""
        for number in range(circuits):
            self._breaker(f"circuit-{number}").execute_sync(int)
        return len(self._coordinator.breakers)

    async def traffic_on(self, circuit: str, rate: float, via: str) -> None:
        """Call the upstream via `execute` or the httpx `transport`, or none (`local`). The last
        fails for as long as the circuit is said to be `unwell`."""
        breaker = self._breaker(circuit)
        calls: dict[str, Callable[[], Awaitable[None]]] = {
            "execute": lambda: self._ask(breaker),
            "transport": lambda: self._get(self._guarded, breaker),
            "local": lambda: breaker.execute(_fail if circuit in self._unwell else _succeed),
        }
        self._traffic[circuit] = Traffic(calls[via], rate)

    def asked(self) -> list[tuple[float, float]]:
        """When calls were asked for with `execute` (monotonic), and the share at that moment."""
        return self._asked

    async def traffic_off(self, circuit: str) -> Counts:
        traffic = self._traffic.pop(circuit)
        await traffic.stop()
        return traffic.counts()

    def traffic(self, circuit: str) -> Counts:
        return self._traffic[circuit].counts()

    def unwell(self, circuits: list[str]) -> None:
        """Have local calls of these circuits fail from now on, and of no others."""
        self._unwell = set(circuits)

    def vitals(self) -> dict[str, int]:
        """What must not grow in a process that runs for long."""
        gc.collect()
        pages = int(Path("/proc/self/statm").read_text().split()[1])
        return {
            "bytes": pages * os.sysconf("SC_PAGE_SIZE"),
            "tasks": len(asyncio.all_tasks()),
            "threads": threading.active_count(),
            "files": len(list(Path("/proc/self/fd").iterdir())),
        }

    def cancel_calls(self, circuit: str) -> int:
        return self._traffic[circuit].cancel_calls()

    def state(self, circuit: str) -> tuple[str, int]:
        breaker = self._breaker(circuit)
        return breaker.state, breaker.generation

    async def wait_state(self, circuit: str, state: str) -> None:
        while self._breaker(circuit).state != state:
            await asyncio.sleep(_LOOK)

    def role(self) -> str:
        return self._coordinator.role

    async def wait_role(self, role: str) -> None:
        while self._coordinator.role != role:
            await asyncio.sleep(_LOOK)

    async def wait_connected(self) -> None:
        while not self._coordinator.connected:
            await asyncio.sleep(_LOOK)

    def events(self) -> list[tuple[float, str, str]]:
        """What callbacks were told: when (monotonic, the same in all processes), kind, what."""
        return self._events

    def counters(self) -> dict[str, Any]:
        statistics = self._coordinator.statistics
        return {
            "recorded": statistics.recorded,
            "evaluated": statistics.evaluated,
            "expired": statistics.expired,
            "dropped": statistics.dropped,
            "errors": dict(statistics.errors),
        }

    async def close(self) -> None:
        for circuit in list(self._traffic):
            await self.traffic_off(circuit)
        await self._coordinator.stop()
        await self._notes.aclose()
        await self._plain.aclose()
        await self._guarded.aclose()

    def _breaker(self, circuit: str) -> Breaker:
        return self._coordinator.breaker(circuit)

    async def _several(
        self, circuit: str, count: int, function: Callable[[], Awaitable[None]]
    ) -> dict[str, int]:
        return Counter([await self._one(circuit, function) for _ in range(count)])

    async def _one(self, circuit: str, function: Callable[[], Awaitable[None]]) -> str:
        try:
            await self._breaker(circuit).execute(function)
        except CircuitOpenError:
            return "rejected"
        except UpstreamError:
            return "failed"
        return "passed"

    def _client(self, transport: httpx.AsyncBaseTransport) -> httpx.AsyncClient:
        headers = {"X-Instance": self._coordinator.instance_id}
        return httpx.AsyncClient(transport=transport, headers=headers, timeout=60)

    async def _ask(self, breaker: Breaker) -> None:
        at = time.monotonic()
        self._asked.append((at, breaker.share))
        await breaker.execute(self._get, self._plain, breaker, at)

    async def _get(self, client: httpx.AsyncClient, breaker: Breaker, at: float = 0.0) -> None:
        # Nothing yields between here and where the call is let through, before or after this:
        # it is the generation that lets it through.
        headers = {"X-Generation": str(breaker.generation), "X-Asked-At": repr(at)}
        response = await client.get(
            self._settings.upstream, headers=headers, extensions={"breaker": breaker.name}
        )
        if "breaker" in response.extensions:
            assert response.status_code == 503
            raise CircuitOpenError(breaker.name, float(response.headers["Retry-After"]))
        if response.is_error:
            raise UpstreamError(response.status_code)

    async def _check(self, type_: HealthCheckType) -> None:
        response = await self._plain.get(f"{self._settings.upstream}/health")
        if response.is_error:
            raise UpstreamError(response.status_code)

    def _failed(self, error: Exception) -> None:
        self._note("error", repr(error))

    def _changed(self, change: StateChange) -> None:
        self._note("state", f"{change.name} {change.state}")

    async def _published(self, change: PublishedChange) -> None:
        note = f"{change.name} {change.generation} {change.position}"
        await asyncio.sleep(0.005)  # as a receiver that takes its time
        await self._notes.rpush(self._settings.notes, note)

    def _moved(self, role: Role) -> None:
        self._note("role", role)

    def _note(self, kind: str, what: str) -> None:
        self._events.append((time.monotonic(), kind, what))


def _strategy(settings: Settings) -> ConsecutiveFailures | CountWindow:
    if settings.slow_call is None:
        return ConsecutiveFailures(settings.threshold)
    return CountWindow(100, 1.0, settings.threshold, slow_rate=1.0)


def _transport() -> httpx.AsyncHTTPTransport:
    return httpx.AsyncHTTPTransport(verify=False, limits=httpx.Limits(max_connections=None))


async def _succeed() -> None:
    await asyncio.sleep(0)


async def _fail() -> None:
    raise UpstreamError


def _fail_sync() -> None:
    raise UpstreamError


class Host:
    """Runs one instance after another, so that not every test waits for new processes."""

    def __init__(self) -> None:
        self._instance: Instance | None = None

    def configure(self, settings: dict[str, Any]) -> str:
        """Make the next instance; tells its id."""
        self._instance = Instance(Settings(**settings))
        return self._instance.identify()

    async def reset(self) -> list[str]:
        """End the instance; tells the tasks that it has left behind."""
        if self._instance is not None:
            await self._instance.close()
        return [repr(task) for task in asyncio.all_tasks() - {asyncio.current_task()}]

    def do(self, command: str, **arguments: Any) -> Any:
        return getattr(self._instance, command)(**arguments)


async def _main() -> None:
    host = Host()
    commands = [name for name in vars(Instance) if not name.startswith("_")]
    try:
        await serve(
            {name: partial(host.do, name) for name in commands}
            | {"configure": host.configure, "reset": host.reset}
        )
    finally:
        await host.reset()


asyncio.run(_main())
