"""Waiting for something to become true, up to a deadline."""

import asyncio
import inspect
import time
from collections.abc import Awaitable, Callable
from typing import NoReturn, TypeVar, overload

import pytest

T = TypeVar("T")

PATIENCE = 60.0
"""Seconds in which a busy host gets round to anything. They cost nothing while tests pass."""

_INTERVAL = 0.005


@overload
async def eventually(
    predicate: Callable[[], Awaitable[T]], *, within: float = ..., what: str = ...
) -> T: ...
@overload
async def eventually(predicate: Callable[[], T], *, within: float = ..., what: str = ...) -> T: ...
async def eventually(
    predicate: Callable[[], T | Awaitable[T]],
    *,
    within: float = PATIENCE,
    what: str = "the condition",
) -> T:
    """Poll until the predicate is truthy, and return its value; fail the test otherwise."""
    deadline = time.monotonic() + within
    while True:
        last = await _evaluate(predicate, deadline, what)
        if last:
            return last
        if time.monotonic() >= deadline:
            _fail(what, within, last)
        await asyncio.sleep(_INTERVAL)


async def loop_rests() -> None:
    """Let the event loop end what it has begun: connections that were accepted get their handlers,
    and those that were closed are let go of."""
    for _ in range(5):
        await asyncio.sleep(0)


def eventually_sync(
    predicate: Callable[[], T], *, within: float = PATIENCE, what: str = "the condition"
) -> T:
    """The same from synchronous code."""
    deadline = time.monotonic() + within
    while True:
        if last := predicate():
            return last
        if time.monotonic() >= deadline:
            _fail(what, within, last)
        time.sleep(_INTERVAL)


async def _evaluate(predicate: Callable[[], T | Awaitable[T]], deadline: float, what: str) -> T:
    value = predicate()
    if not inspect.isawaitable(value):
        return value
    # A first look is due even when the deadline has passed meanwhile.
    patience = max(deadline - time.monotonic(), 0.1)
    timeout = asyncio.timeout(patience)
    try:
        async with timeout:
            return await value
    except TimeoutError:
        if not timeout.expired():
            raise
        pytest.fail(f"waiting for {what}: the predicate itself hung for {patience:.1f} s")


def _fail(what: str, within: float, last: object) -> NoReturn:
    pytest.fail(f"{what} did not come true within {within} s; last value: {last!r}")
