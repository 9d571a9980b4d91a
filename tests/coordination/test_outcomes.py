"""What counts of an error that a guarded call raised: not what an open circuit further in rejected,
in whatever form that arrives, but everything beside it."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress

import anyio
import httpx
import pytest
import trio

from tests.helpers.waiting import eventually
from zenvark_web import (
    Breaker,
    BreakerPolicy,
    BreakerTransport,
    CircuitOpenError,
    ConsecutiveFailures,
    ConstantBackoff,
    Coordinator,
    Outcome,
    State,
)

Work = Callable[[], Awaitable[object]]
POLICY = BreakerPolicy(strategy=ConsecutiveFailures(3), backoff=ConstantBackoff(60))


@pytest.fixture
async def coordinator() -> AsyncIterator[Coordinator]:
    async with Coordinator(policy=POLICY) as coordinator:
        for _ in range(3):
            coordinator.breaker("inner").acquire().record(Outcome.FAILURE)
        await eventually(lambda: coordinator.breaker("inner").state is State.OPEN)
        yield coordinator


def rejecting(coordinator: Coordinator) -> Work:
    async def rejected() -> None:
        await coordinator.breaker("inner").execute(asyncio.sleep, 0)

    return rejected


async def fails() -> None:
    raise OSError


async def waits() -> None:
    await asyncio.sleep(60)


async def in_asyncio(*works: Work) -> None:
    async with asyncio.TaskGroup() as tasks:
        for work in works:
            tasks.create_task(work())  # type: ignore[arg-type]


async def in_anyio(*works: Work) -> None:
    async with anyio.create_task_group() as tasks:
        for work in works:
            tasks.start_soon(work)


async def nested(*works: Work) -> None:
    await in_asyncio(lambda: in_anyio(*works))


async def executed(breaker: Breaker, work: Work) -> None:
    await breaker.execute(work)


async def decorated(breaker: Breaker, work: Work) -> None:
    @breaker
    async def call() -> None:
        await work()

    await call()


async def guarded(breaker: Breaker, work: Work) -> None:
    async with breaker.guard():
        await work()


async def acquired(breaker: Breaker, work: Work) -> None:
    async with breaker.acquire():
        await work()


async def in_a_plain_guard(breaker: Breaker, work: Work) -> None:
    with breaker.guard():
        await work()


WAYS = [executed, decorated, guarded, acquired, in_a_plain_guard]
GROUPS = [in_asyncio, in_anyio, nested]


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("group", GROUPS)
async def test_a_group_of_rejections_is_ignored(
    coordinator: Coordinator,
    way: Callable[[Breaker, Work], Awaitable[None]],
    group: Callable[..., Awaitable[None]],
) -> None:
    outer, work = coordinator.breaker("outer"), rejecting(coordinator)
    for _ in range(4):
        with pytest.raises(BaseExceptionGroup):
            await way(outer, lambda: group(work, work, waits))
    assert recorded(outer) == (0, 0)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("group", GROUPS)
async def test_what_is_beside_them_counts(
    coordinator: Coordinator,
    way: Callable[[Breaker, Work], Awaitable[None]],
    group: Callable[..., Awaitable[None]],
) -> None:
    outer, work = coordinator.breaker("outer"), rejecting(coordinator)
    for _ in range(3):
        with pytest.raises(BaseExceptionGroup):
            await way(outer, lambda: group(work, fails))
    await eventually(lambda: outer.state is State.OPEN)
    assert recorded(outer) == (0, 3)


def test_in_trio() -> None:
    async def main() -> tuple[int, int]:
        async with Coordinator(policy=POLICY) as coordinator:
            inner, outer = coordinator.breaker("inner"), coordinator.breaker("outer")
            for _ in range(3):
                inner.acquire().record(Outcome.FAILURE)
            while inner.state is not State.OPEN:
                await trio.sleep(0.01)

            async def work() -> None:
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(inner.execute, trio.sleep, 0)
                    nursery.start_soon(trio.sleep, 60)

            for _ in range(4):
                with pytest.raises(BaseExceptionGroup):
                    await outer.execute(work)
        return recorded(outer)

    assert trio.run(main) == (0, 0)


async def test_an_error_made_of_our_own_answer_is_ignored(coordinator: Coordinator) -> None:
    transport = BreakerTransport(coordinator, circuits=lambda _: "inner")
    outer = coordinator.breaker("outer")
    async with httpx.AsyncClient(transport=transport) as client:

        async def work() -> None:
            (await client.get("http://inner.test/")).raise_for_status()

        async def wrapped() -> None:
            try:
                await work()
            except httpx.HTTPError as error:
                raise RuntimeError("no payment today") from error

        for call in (work, wrapped, lambda: in_asyncio(work, wrapped)):
            with pytest.raises(Exception):  # noqa: B017, PT011
                await outer.execute(call)
    assert recorded(outer) == (0, 0)


async def test_a_rejection_caught_on_the_way_counts_no_less(coordinator: Coordinator) -> None:
    outer, work = coordinator.breaker("outer"), rejecting(coordinator)

    async def another_way() -> None:
        try:
            await work()
        except CircuitOpenError:
            await fails()

    with pytest.raises(OSError):  # noqa: PT011
        await outer.execute(another_way)
    assert recorded(outer) == (0, 1)


async def test_the_classifier_is_asked_about_each() -> None:
    asked: list[object] = []

    def classify(ended: object) -> Outcome:
        asked.append(type(ended))
        return Outcome.FAILURE if isinstance(ended, OSError) else Outcome.IGNORED

    policy = BreakerPolicy(strategy=ConsecutiveFailures(3), classify=classify)
    async with Coordinator(policy=policy) as coordinator:
        breaker = coordinator.breaker("payments")
        group = ExceptionGroup("", [KeyError(), CircuitOpenError("inner", 1.0), OSError()])
        breaker.acquire().raised(group)
        breaker.acquire().raised(ExceptionGroup("", [KeyError()]))
        assert asked == [KeyError, OSError, KeyError]
        assert recorded(breaker) == (0, 1)


async def test_a_health_check_that_is_rejected_elsewhere_has_not_passed(
    coordinator: Coordinator,
) -> None:
    """It could not look, so it says nothing good; the circuit waits on."""
    checked: list[object] = []

    async def check(_: object) -> None:
        checked.append(_)
        await in_asyncio(rejecting(coordinator))

    policy = BreakerPolicy(
        strategy=ConsecutiveFailures(1), backoff=ConstantBackoff(0.05), health_check=check
    )
    async with Coordinator(policy=policy) as other:
        breaker = other.breaker("payments")
        breaker.acquire().record(Outcome.FAILURE)
        await eventually(lambda: len(checked) > 2)
        assert breaker.state is State.OPEN


class TestCancellations:
    """A cancellation is the caller's, unless nobody has asked for it."""

    @pytest.mark.parametrize("way", WAYS)
    async def test_nobody_asked(
        self, coordinator: Coordinator, way: Callable[[Breaker, Work], Awaitable[None]]
    ) -> None:
        outer = coordinator.breaker("outer")

        async def work() -> None:
            future = asyncio.get_running_loop().create_future()
            future.cancel()  # as a connection pool's may be, by another request
            await future

        with pytest.raises(asyncio.CancelledError):
            await way(outer, work)
        assert recorded(outer) == (0, 1)

    @pytest.mark.parametrize("way", WAYS)
    @pytest.mark.parametrize("bounded", ["task", "timeout", "wait_for", "move_on", "fail", "group"])
    async def test_somebody_asked(
        self,
        coordinator: Coordinator,
        bounded: str,
        way: Callable[[Breaker, Work], Awaitable[None]],
    ) -> None:
        outer = coordinator.breaker("outer")

        async def work() -> None:
            await way(outer, waits)

        with suppress(TimeoutError, ExceptionGroup):
            if bounded == "task":
                task = asyncio.create_task(work())
                await asyncio.sleep(0)
                task.cancel()
                await asyncio.wait([task])
            elif bounded == "timeout":
                async with asyncio.timeout(0.01):
                    await work()
            elif bounded == "wait_for":
                await asyncio.wait_for(work(), 0.01)
            elif bounded == "move_on":
                with anyio.move_on_after(0.01):
                    await in_anyio(work)
            elif bounded == "fail":
                with anyio.fail_after(0.01):
                    await work()
            else:
                await in_asyncio(work, fails)
        assert recorded(outer) == (0, 0)

    def test_a_scope_in_trio(self) -> None:
        async def main() -> tuple[int, int]:
            async with Coordinator(policy=POLICY) as coordinator:
                breaker = coordinator.breaker("outer")
                with trio.move_on_after(0.01):
                    await breaker.execute(trio.sleep, 60)
                with suppress(trio.TooSlowError):
                    async with breaker.guard():
                        with trio.fail_after(0.01):
                            await trio.sleep(60)
            return recorded(breaker)  # it has stopped: what its thread was told is taken in

        assert trio.run(main) == (0, 1)


def recorded(breaker: Breaker) -> tuple[int, int]:
    return sum(breaker.successes.counts), sum(breaker.failures.counts)
