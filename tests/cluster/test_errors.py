"""What users bring along may raise or hang: it surfaces, and everything else goes on."""

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import pytest

from tests.helpers.inside import shard_of
from tests.helpers.servers import ServerHandle
from tests.helpers.waiting import PATIENCE, eventually
from zenvark_web import (
    BreakerPolicy,
    Cause,
    CircuitOpenError,
    ConstantBackoff,
    Coordinator,
    HealthCheckType,
    Role,
    State,
    StateChange,
    StrategyError,
    Trip,
    Window,
)
from zenvark_web._judging import health
from zenvark_web._runtime import notifier

SOON = ConstantBackoff(0.02)
Check = Callable[[HealthCheckType], Awaitable[object]]


class CallFailedError(Exception):
    """A call failed."""


class NoOrdinaryError(BaseException):
    """What `except Exception` lets pass."""


@pytest.fixture(autouse=True)
def brief_limits(patient_commands: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same limits, sooner."""
    monkeypatch.setattr(health, "CHECK_TIMEOUT", 0.2)
    monkeypatch.setattr(notifier, "CALLBACK_TIMEOUT", 0.2)


async def fail_once() -> None:
    raise CallFailedError


async def fail(coordinator: Coordinator, name: str) -> None:
    for _ in range(5):
        with pytest.raises(CallFailedError):
            await coordinator.breaker(name).execute(fail_once)


async def reaches(coordinator: Coordinator, name: str, state: State) -> None:
    breaker = coordinator.breaker(name)
    await eventually(lambda: breaker.state is state, within=PATIENCE, what=f"{name} {state}")


async def works(coordinator: Coordinator, name: str = "healthy") -> None:
    """A circuit opens, recovers by trial calls and closes."""
    await fail(coordinator, name)
    await reaches(coordinator, name, State.OPEN)
    await eventually(lambda: passes(coordinator, name), within=PATIENCE, what="a trial")
    await reaches(coordinator, name, State.CLOSED)


def passes(coordinator: Coordinator, name: str) -> bool:
    try:
        coordinator.breaker(name).execute_sync(int)
    except CircuitOpenError:
        return False
    return True


@asynccontextmanager
async def running(
    server: ServerHandle, namespace: str, *, odd: BreakerPolicy | None = None, **callbacks: Any
) -> AsyncIterator[Coordinator]:
    """A coordinator whose circuit "odd" has a policy of its own. It stops without a hitch."""
    coordinator = Coordinator(
        server.url,
        namespace=namespace,
        policy=BreakerPolicy(backoff=SOON),
        policies={"odd": odd} if odd else None,
        **callbacks,
    )
    before = asyncio.all_tasks()
    async with coordinator:
        await eventually(lambda: coordinator.role is Role.LEADER, within=PATIENCE)
        yield coordinator
    assert asyncio.all_tasks() == before


# Health checks


async def hang(type_: HealthCheckType) -> None:
    await asyncio.get_running_loop().create_future()


def raising(error: BaseException) -> Check:
    async def check(type_: HealthCheckType) -> None:
        raise error

    return check


def raising_in_a_thread(type_: HealthCheckType) -> None:
    raise NoOrdinaryError("odd")


def false(type_: HealthCheckType) -> bool:
    return False


@pytest.mark.parametrize(
    ("check", "told"),
    [
        (hang, "did not end within"),
        (raising(ValueError("down")), "ValueError: down"),
        (raising(TimeoutError()), "did not end within"),
        (raising(asyncio.CancelledError()), "CancelledError"),
        (raising(NoOrdinaryError("odd")), "NoOrdinaryError: odd"),
        (raising(BaseExceptionGroup("many", [NoOrdinaryError("odd")])), "BaseExceptionGroup"),
        (raising_in_a_thread, "NoOrdinaryError: odd"),
        (false, "returned False"),
    ],
)
async def test_health_check_that_hangs_or_raises_anything(
    check: Any, told: str, redis_server: ServerHandle, namespace: str
) -> None:
    changes: list[StateChange] = []
    odd = BreakerPolicy(health_check=check, backoff=SOON)
    async with running(
        redis_server, namespace, odd=odd, on_state_change=changes.append
    ) as coordinator:
        await fail(coordinator, "odd")
        await reaches(coordinator, "odd", State.OPEN)
        await works(coordinator)
        latest = shard_of(coordinator).table.latest
        await eventually(lambda: latest["odd"].reason.cause is Cause.CHECK_FAILED, within=PATIENCE)
        assert told in latest["odd"].reason.detail
        assert coordinator.breaker("odd").state is State.OPEN
    failed = [key for key in coordinator.statistics.health_checks if key[0] == "odd"]
    assert failed == [("odd", HealthCheckType.RECOVERY, False)]


# Callbacks


def raise_now(told: object) -> None:
    raise ValueError("callback")


async def raise_later(told: object) -> None:
    await asyncio.sleep(0)
    raise ValueError("callback")


async def cancel_itself(told: object) -> None:
    raise asyncio.CancelledError


async def raise_no_ordinary_error(told: object) -> None:
    raise NoOrdinaryError("callback")


async def hang_for_ever(told: object) -> None:
    await asyncio.get_running_loop().create_future()


ODD_CALLBACKS = [raise_now, raise_later, cancel_itself, raise_no_ordinary_error, hang_for_ever]


@pytest.mark.parametrize("callback", ODD_CALLBACKS)
@pytest.mark.parametrize("kind", ["on_state_change", "on_role_change"])
async def test_callback_that_raises_or_hangs(
    kind: str, callback: Callable[[object], object], redis_server: ServerHandle, namespace: str
) -> None:
    errors: list[Exception] = []
    others: list[object] = []
    other = {"on_state_change": "on_role_change", "on_role_change": "on_state_change"}[kind]
    callbacks: dict[str, Any] = {kind: callback, other: others.append, "on_error": errors.append}
    async with running(redis_server, namespace, **callbacks) as coordinator:
        await works(coordinator)
        await eventually(lambda: errors and others, within=PATIENCE)
        told = len(errors) + len(others)
        await works(coordinator, "again")
        await eventually(lambda: len(errors) + len(others) > told, within=PATIENCE)


@pytest.mark.parametrize("callback", ODD_CALLBACKS)
async def test_on_error_that_raises_or_hangs(
    callback: Callable[[object], object],
    redis_server: ServerHandle,
    namespace: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    changes: list[StateChange] = []
    async with running(
        redis_server, namespace, on_error=callback, on_state_change=changes.append
    ) as coordinator:
        coordinator.report_error(CallFailedError("first"))
        coordinator.report_error(CallFailedError("second"))
        await works(coordinator)
        await eventually(lambda: len(changes) >= 2, within=PATIENCE)
        assert coordinator.statistics.errors["CallFailedError"] == 2
    logged = [record.getMessage() for record in caplog.records if record.levelno >= logging.ERROR]
    assert all(any(text in line for line in logged) for text in ("first", "second"))
    assert len(logged) >= 3


# Strategies and backoffs


@dataclass(frozen=True)
class RaisingStrategy:
    """Raises when its windows are made, or when they are used."""

    error: BaseException
    when: str

    def window(self) -> Window:
        if self.when == "made":
            raise self.error
        return RaisingWindow(self.error)


class RaisingWindow:
    def __init__(self, error: BaseException) -> None:
        self._error = error

    def record(self, failed: bool, slow: bool, count: int, now: float) -> Trip | None:
        raise self._error


@dataclass(frozen=True)
class RaisingBackoff:
    def delay(self, attempt: int, chance: float) -> float:
        raise ValueError("odd")


async def healthy(type_: HealthCheckType) -> None:
    """All is well."""


@pytest.mark.parametrize(
    "odd",
    [
        BreakerPolicy(strategy=RaisingStrategy(ValueError("odd"), "used")),
        BreakerPolicy(strategy=RaisingStrategy(ValueError("odd"), "made")),
        BreakerPolicy(strategy=RaisingStrategy(asyncio.CancelledError("odd"), "used")),
        BreakerPolicy(strategy=RaisingStrategy(NoOrdinaryError("odd"), "used")),
        BreakerPolicy(
            strategy=RaisingStrategy(ValueError("odd"), "made"),
            health_check=healthy,
            idle_interval=0.05,
        ),
    ],
    ids=["used", "made", "cancels", "no ordinary error", "watched"],
)
async def test_strategy_that_raises(
    odd: BreakerPolicy, redis_server: ServerHandle, namespace: str
) -> None:
    errors: list[Exception] = []
    async with running(redis_server, namespace, odd=odd, on_error=errors.append) as coordinator:
        await works(coordinator)
        await fail(coordinator, "odd")
        await works(coordinator, "another")
        assert coordinator.breaker("odd").state is State.CLOSED
        assert "odd" in str(errors[0])
        assert {type(error) for error in errors} == {StrategyError}


async def test_backoff_that_raises(redis_server: ServerHandle, namespace: str) -> None:
    errors: list[Exception] = []
    odd = BreakerPolicy(backoff=RaisingBackoff())
    async with running(redis_server, namespace, odd=odd, on_error=errors.append) as coordinator:
        await fail(coordinator, "odd")
        await reaches(coordinator, "odd", State.OPEN)
        await works(coordinator, "another")
        await eventually(lambda: errors, within=PATIENCE)
        assert {type(error) for error in errors} == {StrategyError}


async def test_strategy_that_raises_for_an_open_circuit_of_an_earlier_leader(
    redis_server: ServerHandle, namespace: str
) -> None:
    """Its window can't be made when the next leader takes over."""
    async with running(
        redis_server, namespace, odd=BreakerPolicy(backoff=ConstantBackoff(60))
    ) as coordinator:
        await fail(coordinator, "odd")
        await reaches(coordinator, "odd", State.OPEN)
    errors: list[Exception] = []
    odd = BreakerPolicy(strategy=RaisingStrategy(ValueError("odd"), "made"))
    async with running(redis_server, namespace, odd=odd, on_error=errors.append) as coordinator:
        await works(coordinator)
        assert coordinator.breaker("odd").state is State.OPEN
        assert "odd" in str(errors[0])
