"""What editors and type checkers make of calls through a breaker. Checked, never run."""

# pyright: reportUnnecessaryTypeIgnoreComment=true, reportUnusedFunction=false

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import Any, assert_type

from zenvark_web import Breaker, CircuitOpenError, Coordinator, Outcome, Permit, Role, State
from zenvark_web.statistics import Distribution, Statistics


class Order:
    number: int


async def pay(order: Order, *, currency: str = "EUR") -> bool:
    return True


def pay_sync(order: Order, *, currency: str = "EUR") -> bool:
    return True


def pay_later(order: Order) -> Awaitable[str]:
    return asyncio.Future()


async def blocks_know_the_coordinator() -> None:
    async with Coordinator() as coordinator:
        assert_type(coordinator, Coordinator)
    with Coordinator() as coordinator_in_a_thread:
        assert_type(coordinator_in_a_thread, Coordinator)


async def execute_keeps_the_return_type(breaker: Breaker, order: Order) -> None:
    assert_type(await breaker.execute(pay, order), bool)
    assert_type(await breaker.execute(pay, order, currency="USD"), bool)
    assert_type(await breaker.execute(pay_later, order), str)
    assert_type(breaker.execute_sync(pay_sync, order), bool)
    assert_type(breaker.execute_sync(len, "four"), int)


async def execute_checks_arguments(breaker: Breaker, order: Order) -> None:
    await breaker.execute(pay)  # type: ignore[call-arg]
    await breaker.execute(pay, "order")  # type: ignore[arg-type]
    await breaker.execute(pay, order, currency=7)  # type: ignore[arg-type]
    await breaker.execute(pay_sync, order)  # type: ignore[arg-type]
    breaker.execute_sync(pay_sync, order, amount=7)  # type: ignore[call-arg]


async def decorator_keeps_the_signature(breaker: Breaker, order: Order) -> None:
    @breaker
    async def decorated(order: Order, *, currency: str = "EUR") -> bool:
        return True

    @breaker
    def decorated_sync(order: Order, *, currency: str = "EUR") -> bool:
        return True

    assert_type(await decorated(order, currency="USD"), bool)
    assert_type(decorated_sync(order), bool)
    await decorated("order")  # type: ignore[arg-type]
    decorated_sync(order, currency=7)  # type: ignore[arg-type]


class Shop:
    coordinator = Coordinator()

    @coordinator.breaker("payments")
    async def pay(self, order: Order) -> str:
        return "paid"


async def decorator_fits_methods(shop: Shop, order: Order) -> None:
    assert_type(await shop.pay(order), str)


async def guards_give_permits(breaker: Breaker) -> None:
    async with breaker.guard() as permit:
        assert_type(permit, Permit)
    with breaker.guard() as permit:
        assert_type(permit, Permit)
    with breaker.acquire() as permit:
        assert_type(permit, Permit)
        permit.record(Outcome.FAILURE, retry_after=1.5)
        permit.record("failure")  # type: ignore[arg-type]
    assert_type(permit.recorded, bool)


async def guard_does_not_swallow_errors(breaker: Breaker) -> int:
    async with breaker.guard():
        return 1  # a checker would miss a return if the guard could swallow an error


def breakers_tell_of_themselves(breaker: Breaker) -> None:
    assert_type(breaker.name, str)
    assert_type(breaker.state, State)
    assert_type(breaker.generation, int)
    assert_type(breaker.retry_after, float)
    assert_type(breaker.blocked, int)
    assert_type(breaker.successes, Distribution)
    breaker.state = State.OPEN  # type: ignore[misc]


def states_are_exhaustive(state: State) -> str:
    match state:
        case State.CLOSED:
            return "closed"
        case State.OPEN:
            return "open"
        case State.HALF_OPEN:
            return "half-open"


async def coordinators_tell_of_themselves(coordinator: Coordinator) -> None:
    async with coordinator as entered:
        assert_type(entered, Coordinator)
    assert_type(coordinator.breaker("payments"), Breaker)
    assert_type(coordinator.breakers, Mapping[str, Breaker])
    assert_type(coordinator.role, Role)
    assert_type(coordinator.instance_id, str)
    assert_type(coordinator.connected, bool)
    assert_type(coordinator.statistics, Statistics)
    coordinator.breaker(7)  # type: ignore[arg-type]
    coordinator.breakers["x"] = coordinator.breaker("x")  # type: ignore[index]


def errors_tell_of_the_circuit(error: CircuitOpenError) -> None:
    assert_type(error.name, str)
    assert_type(error.retry_after, float)


def what_is_no_function_is_not_decorated(breaker: Breaker) -> None:
    breaker(7)  # type: ignore[type-var]


async def generators_pass_a_guard(breaker: Breaker, source: AsyncIterator[bytes]) -> bytes:
    async with breaker.guard():
        return b"".join([chunk async for chunk in source])


def any_callable_will_do(breaker: Breaker, function: Callable[..., Any]) -> None:
    breaker.execute_sync(function, 1, two=2)
