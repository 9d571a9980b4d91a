"""Waiting returns what was waited for, and says what never came."""

import asyncio
from collections.abc import Awaitable, Callable
from itertools import count

import pytest

from tests.helpers.waiting import eventually, eventually_sync


def third_time() -> Callable[[], int]:
    calls = count(1)
    return lambda: max(0, next(calls) - 2)


def asynchronous(predicate: Callable[[], int]) -> Callable[[], Awaitable[int]]:
    async def call() -> int:
        return predicate()

    return call


async def test_value_is_returned_once_true() -> None:
    assert await eventually(third_time()) == 1
    assert await eventually(asynchronous(third_time())) == 1


def test_value_is_returned_to_synchronous_code() -> None:
    assert eventually_sync(third_time()) == 1


async def test_deadline_fails_with_the_last_value() -> None:
    with pytest.raises(
        pytest.fail.Exception, match=r"the moon did not come true.*last value: \[\]"
    ):
        await eventually(list, within=0.02, what="the moon")


def test_deadline_fails_synchronous_code_too() -> None:
    with pytest.raises(pytest.fail.Exception, match=r"the moon did not come true.*last value: 0"):
        eventually_sync(int, within=0.02, what="the moon")


async def test_predicate_that_hangs_is_cut_off() -> None:
    with pytest.raises(pytest.fail.Exception, match="the predicate itself hung"):
        await eventually(lambda: asyncio.sleep(60, result=True), within=0.02)


async def test_errors_of_the_predicate_pass_through() -> None:
    async def broken() -> bool:
        raise TimeoutError("its own")

    with pytest.raises(TimeoutError, match="its own"):
        await eventually(broken)
