"""Whatever a guarded function gives back that is still to come, the call is under way until it has
ended; and what is no call of the upstream's is no failure of it."""

import asyncio
import functools
import gc
from collections.abc import AsyncIterator, Awaitable, Callable, Generator, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import httpx
import pytest

from tests.helpers.waiting import eventually
from zenvark_web import (
    Breaker,
    BreakerPolicy,
    CircuitOpenError,
    ConsecutiveFailures,
    ConstantBackoff,
    Coordinator,
    Outcome,
    State,
)

POLICY = BreakerPolicy(strategy=ConsecutiveFailures(3), backoff=ConstantBackoff(0.1))


@pytest.fixture
async def breaker() -> AsyncIterator[Breaker]:
    async with Coordinator(policy=POLICY) as coordinator:
        yield coordinator.breaker("payments")


async def failing() -> None:
    await asyncio.sleep(0)
    raise OSError


class Caller:
    """As asgiref's `sync_to_async` makes them."""

    async def __call__(self) -> None:
        await failing()

    async def method(self) -> None:
        await failing()

    @staticmethod
    async def static() -> None:
        await failing()


class Lazy:
    """Neither a coroutine nor a future, but awaitable."""

    def __await__(self) -> Generator[Any, Any, None]:
        return failing().__await__()


def plain_wrapper(function: Callable[[], Any]) -> Callable[[], Any]:
    """As tools put it around functions of all kinds."""

    @functools.wraps(function)
    def wrapper() -> Any:
        return function()

    return wrapper


wrapped = plain_wrapper(failing)


AWAITABLES: dict[str, Callable[[], Awaitable[None]]] = {
    "coroutine function": failing,
    "object": Caller(),
    "partial of an object": functools.partial(Caller()),
    "method": Caller().method,
    "static method": Caller.static,
    "partial": functools.partial(failing),
    "plain wrapper": wrapped,
    "lambda": lambda: failing(),  # noqa: PLW0108
    "partial of a wrapper": functools.partial(wrapped),
    "awaitable object": Lazy,
    "task": lambda: asyncio.create_task(failing()),
    "future": lambda: asyncio.ensure_future(failing()),
    "gathered": lambda: asyncio.gather(failing()),
    "shielded": lambda: asyncio.shield(failing()),
}
WAYS: dict[str, Callable[[Breaker, Callable[[], Awaitable[None]]], Awaitable[None]]] = {
    "decorated": lambda breaker, function: breaker(function)(),
    "executed": lambda breaker, function: breaker.execute(function),
    "executed as if plain": lambda breaker, function: breaker.execute_sync(function),
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("kind", AWAITABLES)
async def test_what_comes_back_is_guarded(breaker: Breaker, kind: str, way: str) -> None:
    for _ in range(3):
        with pytest.raises(OSError):  # noqa: PT011
            await WAYS[way](breaker, AWAITABLES[kind])
    await eventually(lambda: breaker.state is State.OPEN)
    assert recorded(breaker) == (0, 3)
    with pytest.raises(CircuitOpenError):
        await WAYS[way](breaker, AWAITABLES[kind])


@pytest.mark.parametrize("way", WAYS)
async def test_its_result_is_handed_on(breaker: Breaker, way: str) -> None:
    async def work() -> Any:
        return "done"

    for function in (work, functools.partial(work), lambda: asyncio.create_task(work())):
        assert await WAYS[way](breaker, function) == "done"  # type: ignore[func-returns-value]
    await eventually(lambda: recorded(breaker) == (3, 0))


async def test_it_passes_a_trial_only_when_it_has_ended(breaker: Breaker) -> None:
    for _ in range(3):
        breaker.acquire().record(Outcome.FAILURE)
    await eventually(lambda: breaker.state is State.OPEN)
    answer = asyncio.Event()
    call = breaker(plain_wrapper(answer.wait))

    async def tried() -> asyncio.Future[Any] | None:
        try:
            return asyncio.ensure_future(call())
        except CircuitOpenError:
            return None

    trial = await eventually(tried)
    assert trial is not None
    await asyncio.sleep(0.05)
    assert breaker.state is State.HALF_OPEN
    answer.set()
    await trial
    await eventually(lambda: breaker.state is State.CLOSED)


async def test_one_that_nobody_awaits_gives_its_permit_back(breaker: Breaker) -> None:
    for _ in range(3):
        breaker.acquire().record(Outcome.FAILURE)

    def thrown_away() -> bool:
        try:
            breaker.execute_sync(Lazy).close()  # type: ignore[attr-defined]
        except CircuitOpenError:
            return False
        gc.collect()
        return True

    await eventually(lambda: breaker.state is State.OPEN)
    await eventually(thrown_away)
    await eventually(thrown_away)
    assert recorded(breaker) == (0, 3)


async def test_a_future_stays_what_it_is(breaker: Breaker) -> None:
    future = asyncio.get_running_loop().create_future()
    assert breaker.execute_sync(lambda: future) is future
    assert recorded(breaker) == (0, 0)
    future.set_exception(OSError())
    await eventually(lambda: recorded(breaker) == (0, 1))

    cancelled: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    breaker.execute_sync(lambda: cancelled)
    cancelled.cancel()
    await asyncio.sleep(0.02)
    assert recorded(breaker) == (0, 1)


async def test_futures_of_executors(breaker: Breaker) -> None:
    def fails() -> None:
        raise OSError

    with ThreadPoolExecutor() as pool:
        future = breaker(pool.submit)(fails)
        assert isinstance(future, Future)
        assert isinstance(future.exception(), OSError)
        assert breaker(pool.submit)(int).result() == 0
    await eventually(lambda: recorded(breaker) == (1, 1))


async def chunks() -> AsyncIterator[bytes]:
    yield b""


def plain_chunks() -> Iterator[bytes]:
    yield b""


class Chunks:
    async def __call__(self) -> AsyncIterator[bytes]:
        yield b""


class TestGenerators:
    """Their work is done by whoever reads them, out of sight."""

    @pytest.mark.parametrize(
        "function",
        [chunks, plain_chunks, functools.partial(chunks), Chunks()],
        ids=["async", "plain", "partial", "object"],
    )
    async def test_cannot_be_decorated(
        self, breaker: Breaker, function: Callable[[], object]
    ) -> None:
        with pytest.raises(TypeError, match=r"use guard\(\) around its loop"):
            breaker(function)

    @pytest.mark.parametrize(
        "function",
        [chunks, plain_chunks, plain_wrapper(chunks), plain_wrapper(plain_chunks)],
        ids=["async", "plain", "wrapper of async", "wrapper of plain"],
    )
    async def test_cannot_be_executed(
        self, breaker: Breaker, function: Callable[[], object]
    ) -> None:
        with pytest.raises(TypeError, match=r"use guard\(\) around its loop"):
            breaker.execute_sync(function)
        await no_result(breaker)


class TestBlocks:
    """A context manager made of a generator has done nothing yet, either."""

    async def test_cannot_be_executed(self, breaker: Breaker) -> None:
        with httpx.Client() as web, pytest.raises(TypeError, match=r"guard\(\) around its block"):
            breaker.execute_sync(web.stream, "GET", "http://payments/")
        async with httpx.AsyncClient() as client:
            stream = functools.partial(client.stream, "GET", "http://payments/")
            calls: list[Callable[[], Any]] = [
                lambda: breaker.execute_sync(stream),
                lambda: breaker.execute(stream),  # type: ignore[arg-type]
                breaker(stream),
            ]
            for call in calls:
                with pytest.raises(TypeError, match=r"guard\(\) around its block"):
                    await call()
        await no_result(breaker)


class TestMistakes:
    """What the caller has done wrong is no call of the upstream, and so no failure of it."""

    @pytest.mark.parametrize("function", [int, dict, lambda: None], ids=range(3))
    async def test_plain_functions(self, breaker: Breaker, function: Any) -> None:
        for _ in range(4):
            with pytest.raises(TypeError, match=r"use execute_sync\(\) for plain functions"):
                await breaker.execute(function)
        await no_result(breaker)

    async def test_plain_functions_that_fail(self, breaker: Breaker) -> None:
        def fails() -> Any:
            raise OSError

        with pytest.raises(OSError):  # noqa: PT011
            await breaker.execute(fails)
        assert recorded(breaker) == (0, 1)

    async def test_coroutines(self, breaker: Breaker) -> None:
        for call in (breaker.execute_sync, breaker):
            with pytest.raises(TypeError, match="pass the function and its arguments"):
                call(failing())  # type: ignore[operator]
        with pytest.raises(TypeError, match="pass the function and its arguments"):
            await breaker.execute(failing())  # type: ignore[arg-type]
        await no_result(breaker)

    @pytest.mark.parametrize("function", [None, "failing"])
    async def test_no_functions(self, breaker: Breaker, function: Any) -> None:
        with pytest.raises(TypeError, match="a function is needed"):
            await breaker.execute(function)
        with pytest.raises(TypeError, match="a function is needed"):
            breaker.execute_sync(function)
        with pytest.raises(TypeError, match="a function is needed"):
            breaker(function)
        await no_result(breaker)

    async def test_wrong_arguments(self, breaker: Breaker) -> None:
        for function in (breaker(failing), breaker(plain)):
            with pytest.raises(TypeError, match="positional argument"):
                await function(1, 2)  # type: ignore[call-arg, misc]
        await no_result(breaker)

    async def test_type_errors_of_the_upstream_count(self, breaker: Breaker) -> None:
        async def fails() -> None:
            raise TypeError

        with pytest.raises(TypeError):
            await breaker.execute(fails)
        with pytest.raises(TypeError):
            breaker.execute_sync(plain)
        assert recorded(breaker) == (0, 2)

    async def test_a_trial_is_given_back(self, breaker: Breaker) -> None:
        for _ in range(3):
            breaker.acquire().record(Outcome.FAILURE)
        await eventually(lambda: breaker.state is State.OPEN)

        async def mistaken() -> bool:
            try:
                await breaker.execute(int)  # type: ignore[arg-type]
            except CircuitOpenError:
                return False
            except TypeError:
                return True
            raise AssertionError

        await eventually(mistaken)
        await eventually(mistaken)
        assert recorded(breaker) == (0, 3)


def plain() -> None:
    raise TypeError


async def no_result(breaker: Breaker) -> None:
    breaker.execute_sync(int)
    await eventually(lambda: sum(breaker.successes.counts))
    assert recorded(breaker) == (1, 0)


def recorded(breaker: Breaker) -> tuple[int, int]:
    return sum(breaker.successes.counts), sum(breaker.failures.counts)
