"""A circuit that is used within itself: what is inside a permitted call is part of it, passes with
it, and counts once. A half-open circuit has one permit to give, and recovered never."""

import asyncio
import gc
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import suppress
from contextvars import Context
from functools import partial
from itertools import product
from weakref import ref

import httpx
import pytest
import trio
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from tests.helpers.inside import circuit_of
from tests.helpers.waiting import eventually, eventually_sync
from zenvark_web import (
    Breaker,
    BreakerMiddleware,
    BreakerPolicy,
    BreakerTransport,
    CircuitOpenError,
    ConsecutiveFailures,
    ConstantBackoff,
    Coordinator,
    CountWindow,
    Outcome,
    State,
)

POLICY = BreakerPolicy(strategy=ConsecutiveFailures(3), backoff=ConstantBackoff(0.1))
Work = Callable[[], Awaitable[object]]
Way = Callable[[Breaker, Work], Awaitable[None]]


@pytest.fixture
async def coordinator() -> AsyncIterator[Coordinator]:
    async with Coordinator(policy=POLICY) as coordinator:
        yield coordinator


@pytest.fixture
def breaker(coordinator: Coordinator) -> Breaker:
    return coordinator.breaker("payments")


async def opened(breaker: Breaker) -> None:
    for _ in range(3):
        breaker.acquire().record(Outcome.FAILURE)
    await eventually(lambda: breaker.state is State.OPEN)


async def executed(breaker: Breaker, work: Work) -> None:
    await breaker.execute(work)


async def decorated(breaker: Breaker, work: Work) -> None:
    @breaker
    async def call() -> None:
        await work()

    await call()


async def decorated_plainly(breaker: Breaker, work: Work) -> None:
    await breaker(lambda: work())()  # noqa: PLW0108


async def guarded(breaker: Breaker, work: Work) -> None:
    async with breaker.guard():
        await work()


async def guarded_plainly(breaker: Breaker, work: Work) -> None:
    with breaker.guard():
        await work()


async def acquired(breaker: Breaker, work: Work) -> None:
    async with breaker.acquire():
        await work()


async def acquired_by_hand(breaker: Breaker, work: Work) -> None:
    permit = breaker.acquire()
    permit.carry()
    try:
        await work()
    except BaseException as error:
        permit.set_down()
        permit.raised(error)
        raise
    permit.set_down()
    permit.record(Outcome.SUCCESS)


WAYS = [
    executed,
    decorated,
    decorated_plainly,
    guarded,
    guarded_plainly,
    acquired,
    acquired_by_hand,
]
PAIRS = [
    pytest.param(*pair, id="-".join(way.__name__ for way in pair)) for pair in product(WAYS, WAYS)
]
SOME_PAIRS = PAIRS[:: len(WAYS) + 2]


@pytest.mark.parametrize(("outer", "inner"), PAIRS)
async def test_they_recover_and_count_once(
    breaker: Breaker,
    outer: Callable[[Breaker, Work], Awaitable[None]],
    inner: Callable[[Breaker, Work], Awaitable[None]],
) -> None:
    async def tried() -> bool:
        if breaker.state is State.CLOSED:
            return True
        with suppress(CircuitOpenError):
            await outer(breaker, lambda: inner(breaker, lambda: inner(breaker, fine)))
        return False

    async def failed() -> None:
        with pytest.raises(OSError):  # noqa: PT011
            await outer(breaker, lambda: inner(breaker, lambda: inner(breaker, fails)))

    await failed()
    await failed()
    assert recorded(breaker) == (0, 2)
    await failed()
    await eventually(lambda: breaker.state is State.OPEN)
    await eventually(tried)
    assert recorded(breaker) == (1, 3)
    await outer(breaker, lambda: inner(breaker, fine))
    assert recorded(breaker) == (2, 3)


async def fine() -> None:
    await asyncio.sleep(0)


async def fails() -> None:
    raise OSError


class Upstream(httpx.AsyncBaseTransport):
    def __init__(self, *statuses: int) -> None:
        self.statuses = list(statuses)

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        await asyncio.sleep(0)
        return httpx.Response(self.statuses.pop(0) if self.statuses else 200)


def client(coordinator: Coordinator, *statuses: int) -> httpx.AsyncClient:
    transport = BreakerTransport(
        coordinator, Upstream(*statuses), circuits=lambda _: "payments", when_open="raise"
    )
    return httpx.AsyncClient(transport=transport, base_url="http://payments.test")


class TestWhatIsToldInside:
    """The call further out may end well though its upstream does not."""

    @pytest.mark.parametrize("way", WAYS)
    async def test_a_status(
        self,
        coordinator: Coordinator,
        breaker: Breaker,
        way: Callable[[Breaker, Work], Awaitable[None]],
    ) -> None:
        async with client(coordinator, 500, 200, 500) as web:
            for _ in range(3):
                await way(breaker, lambda: web.get("/"))
        await eventually(lambda: recorded(breaker) == (1, 2))

    async def test_the_last_one_decides(self, coordinator: Coordinator, breaker: Breaker) -> None:
        async def retried(web: httpx.AsyncClient) -> None:
            if (await web.get("/")).is_error:
                await web.get("/")

        async with client(coordinator, 500, 200, 500, 500) as web:
            await breaker.execute(partial(retried, web))
            assert recorded(breaker) == (1, 0)
            await breaker.execute(partial(retried, web))
            assert recorded(breaker) == (1, 1)

    async def test_a_failure_that_was_caught(self, breaker: Breaker) -> None:
        for way in WAYS:
            with suppress(OSError):
                await way(breaker, partial(caught, breaker))
        assert sum(breaker.successes.counts) == 0

    async def test_what_the_upstream_asks_for(self, breaker: Breaker) -> None:
        async with breaker.guard():
            breaker.acquire().record(Outcome.FAILURE, retry_after=60)
        for _ in range(2):
            breaker.acquire().record(Outcome.FAILURE)
        await eventually(lambda: breaker.state is State.OPEN)
        assert breaker.retry_after > 30

    async def test_ignored_ones_say_nothing(self, breaker: Breaker) -> None:
        async with breaker.guard():
            breaker.acquire().record(Outcome.IGNORED)
        assert recorded(breaker) == (1, 0)

    @pytest.mark.parametrize(("outer", "inner"), PAIRS)
    async def test_however_deep(
        self, coordinator: Coordinator, breaker: Breaker, outer: Way, inner: Way
    ) -> None:
        async def asked(web: httpx.AsyncClient) -> None:
            await outer(breaker, lambda: inner(breaker, lambda: web.get("/")))

        async with client(coordinator, 500, 404, 200, 500) as web:
            await asked(web)
            assert recorded(breaker) == (0, 1)
            await asked(web)
            assert recorded(breaker) == (0, 1)
            await asked(web)
            assert recorded(breaker) == (1, 1)
            await asked(web)
            assert recorded(breaker) == (1, 2)

    @pytest.mark.parametrize("way", WAYS)
    async def test_answers_hide_no_outage(
        self, coordinator: Coordinator, breaker: Breaker, way: Way
    ) -> None:
        async with client(coordinator, 500, 404, 500, 404, 500) as web:
            for _ in range(5):
                await way(breaker, lambda: web.get("/"))
        await eventually(lambda: breaker.state is State.OPEN)
        assert recorded(breaker) == (0, 3)

    @pytest.mark.parametrize("way", WAYS)
    async def test_a_trial_passes_by_an_answer(
        self, coordinator: Coordinator, breaker: Breaker, way: Way
    ) -> None:
        await opened(breaker)

        async def tried() -> bool:
            if breaker.state is State.CLOSED:
                return True
            async with client(coordinator, 404) as web:
                with suppress(CircuitOpenError):
                    await way(breaker, lambda: web.get("/"))
            return False

        await eventually(tried)
        assert recorded(breaker) == (1, 3)


async def the_same(work: Work) -> None:
    await work()


async def a_cause(work: Work) -> None:
    try:
        await work()
    except Exception as error:
        raise RuntimeError("payment failed") from error


async def a_group(work: Work) -> None:
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(a_coroutine(work))
        tasks.create_task(a_coroutine(work))


async def a_coroutine(work: Work) -> None:
    await work()


class TestWhatIsIgnoredInside:
    """An error that says nothing of the upstream where it arises says nothing further out."""

    @pytest.mark.parametrize("left_as", [the_same, a_cause, a_group])
    @pytest.mark.parametrize(("outer", "inner"), SOME_PAIRS)
    async def test_of_a_transport(
        self,
        coordinator: Coordinator,
        breaker: Breaker,
        outer: Way,
        inner: Way,
        left_as: Callable[[Work], Awaitable[None]],
    ) -> None:
        """The client's own pool has run out, or its own upload raises."""

        async def no_room(request: httpx.Request) -> httpx.Response:
            await request.aread()
            raise httpx.PoolTimeout("all connections are in use")

        async def upload() -> AsyncIterator[bytes]:
            yield b"invoice"
            raise ValueError("the invoice is torn")

        transport = BreakerTransport(
            coordinator, httpx.MockTransport(no_room), circuits=lambda _: "payments"
        )
        async with httpx.AsyncClient(transport=transport, base_url="http://payments.test") as web:
            for work in (lambda: web.get("/"), lambda: web.post("/", content=upload())):
                with pytest.raises(Exception):  # noqa: B017, PT011
                    await outer(breaker, lambda work=work: left_as(partial(inner, breaker, work)))  # type: ignore[misc]
        assert recorded(breaker) == (0, 0)

    async def test_told_by_hand(self, breaker: Breaker) -> None:
        for way in WAYS:
            with suppress(OSError):
                await way(breaker, partial(set_aside, breaker))
        assert recorded(breaker) == (0, 0)

    async def test_told_as_raised(self) -> None:
        def classify(ended: object) -> Outcome:
            return Outcome.IGNORED if isinstance(ended, KeyError) else Outcome.FAILURE

        async with Coordinator(policy=BreakerPolicy(classify=classify)) as coordinator:
            breaker = coordinator.breaker("payments")
            missing = KeyError("card")
            with suppress(RuntimeError), breaker.guard():
                breaker.acquire().raised(missing)
                raise RuntimeError from missing
            assert recorded(breaker) == (0, 0)

    async def test_other_errors_count(self, breaker: Breaker) -> None:
        with suppress(ValueError), breaker.guard():
            with suppress(OSError):
                await set_aside(breaker)
            raise ValueError
        assert recorded(breaker) == (0, 1)

    async def test_what_was_being_handled_before_counts(self, breaker: Breaker) -> None:
        """A fallback has an answer that says nothing: the error before it is no less of one."""
        with suppress(OSError), breaker.guard():
            try:
                await fails()
            except OSError:
                breaker.acquire().record(Outcome.IGNORED)
                raise
        assert recorded(breaker) == (0, 1)

    async def test_a_failure_before_it_counts(self, breaker: Breaker) -> None:
        with suppress(OSError), breaker.guard():
            await caught(breaker)
            await set_aside(breaker)
        assert recorded(breaker) == (0, 1)

    async def test_few_errors_are_kept(self, breaker: Breaker) -> None:
        class UnluckyError(OSError):
            pass

        errors = list[ref[UnluckyError]]()
        async with breaker.guard():
            for _ in range(100):
                error = UnluckyError()
                errors.append(ref(error))
                breaker.acquire().raised(asyncio.CancelledError(error))
            del error
            gc.collect()
            assert 0 < sum(error() is not None for error in errors) < 20
        gc.collect()
        assert all(error() is None for error in errors)


async def set_aside(breaker: Breaker) -> None:
    permit = breaker.acquire()
    try:
        raise OSError
    except OSError:
        permit.record(Outcome.IGNORED)
        raise


async def caught(breaker: Breaker) -> None:
    with suppress(OSError):
        await breaker.execute(fails)


async def test_transport_within_transport(coordinator: Coordinator, breaker: Breaker) -> None:
    """As when a client of a client library is given one that is protected already."""
    await opened(breaker)
    inner = BreakerTransport(coordinator, Upstream(), circuits=lambda _: "payments")
    outer = BreakerTransport(coordinator, inner, circuits=lambda _: "payments", when_open="raise")
    async with httpx.AsyncClient(transport=outer, base_url="http://payments.test") as web:

        async def tried() -> bool:
            if breaker.state is State.CLOSED:
                return True
            with suppress(CircuitOpenError):
                await web.get("/")
            return False

        await eventually(tried)
    assert recorded(breaker) == (1, 3)


def test_transport_within_a_plain_one(breaker_of_thread: tuple[Coordinator, Breaker]) -> None:
    coordinator, breaker = breaker_of_thread

    def answer(_: httpx.Request) -> httpx.Response:
        breaker.execute_sync(int)
        return httpx.Response(200)

    for _ in range(3):
        breaker.acquire().record(Outcome.FAILURE)
    eventually_sync(lambda: breaker.state is State.OPEN)
    transport = BreakerTransport(
        coordinator,
        httpx.MockTransport(answer),
        circuits=lambda _: "payments",
        when_open="raise",
    )
    with httpx.Client(transport=transport) as web:

        def tried() -> bool:
            if breaker.state is State.CLOSED:
                return True
            with suppress(CircuitOpenError), breaker.guard():
                web.get("http://payments.test/")
            return False

        eventually_sync(tried)
        web.get("http://payments.test/")
    eventually_sync(lambda: recorded(breaker) == (2, 3))


@pytest.fixture
def breaker_of_thread() -> Iterator[tuple[Coordinator, Breaker]]:
    with Coordinator(policy=POLICY) as coordinator:
        yield coordinator, coordinator.breaker("payments")


async def test_a_route_whose_handler_uses_its_circuit(
    coordinator: Coordinator, breaker: Breaker
) -> None:
    async def pay(_: Request) -> PlainTextResponse:
        async with client(coordinator) as web, breaker.guard():
            await web.get("/")
        return PlainTextResponse("paid")

    app = BreakerMiddleware(
        Starlette(routes=[Route("/pay", pay)]),
        coordinator=coordinator,
        routes={"/pay": "payments"},
    )
    await opened(breaker)
    async with httpx.AsyncClient(
        transport=httpx.ASGITransport(app), base_url="http://shop.test"
    ) as caller:

        async def tried() -> bool:
            if breaker.state is State.CLOSED:
                return True
            await caller.get("/pay")
            return False

        await eventually(tried)
        assert recorded(breaker) == (1, 3)
        assert (await caller.get("/pay")).text == "paid"
    assert recorded(breaker) == (2, 3)


async def test_other_circuits_have_calls_of_their_own(coordinator: Coordinator) -> None:
    shop, bank = coordinator.breaker("shop"), coordinator.breaker("bank")
    async with shop.guard(), bank.guard():
        await shop.execute(fine)
        await bank.execute(fine)
        bank.execute_sync(int)
    await eventually(lambda: recorded(shop) == recorded(bank) == (1, 0))


async def test_in_tasks_and_threads_begun_inside(breaker: Breaker) -> None:
    await opened(breaker)

    async def work() -> None:
        await asyncio.gather(breaker.execute(fine), asyncio.to_thread(breaker.execute_sync, int))

    async def tried() -> bool:
        if breaker.state is State.CLOSED:
            return True
        with suppress(CircuitOpenError):
            await breaker.execute(work)
        return False

    await eventually(tried)
    assert recorded(breaker) == (1, 3)


class TestWhatOutlivesTheCallFurtherOut:
    async def test_its_calls_are_its_own(self, breaker: Breaker) -> None:
        go = asyncio.Event()

        async def later() -> None:
            await go.wait()
            await breaker.execute(fails)

        async with breaker.guard():
            task = asyncio.create_task(later())
            await asyncio.sleep(0)
        go.set()
        await asyncio.wait([task])
        assert isinstance(task.exception(), OSError)
        assert recorded(breaker) == (1, 1)

    async def test_it_takes_no_settled_trials_permit(self, breaker: Breaker) -> None:
        await opened(breaker)
        go, tasks = asyncio.Event(), list[asyncio.Task[None]]()

        async def later() -> None:
            await go.wait()
            await breaker.execute(fine)

        async def tried() -> bool:
            with suppress(CircuitOpenError):
                async with breaker.guard() as permit:
                    tasks.append(asyncio.create_task(later()))
                    await asyncio.sleep(0)
                    permit.record(Outcome.FAILURE)
                return True
            return False

        await eventually(tried)
        await eventually(lambda: breaker.state is State.OPEN)
        go.set()
        with pytest.raises(CircuitOpenError):
            await tasks[0]

    async def test_a_call_that_goes_on_counts(self, breaker: Breaker) -> None:
        go = asyncio.Event()

        async def slow() -> None:
            await go.wait()
            raise OSError

        async with breaker.guard():
            task = asyncio.create_task(breaker.execute(slow))
            await asyncio.sleep(0)
        assert recorded(breaker) == (1, 0)
        go.set()
        await asyncio.wait([task])
        assert isinstance(task.exception(), OSError)
        assert recorded(breaker) == (1, 1)

    async def test_a_trial_that_goes_on_counts_no_second_time(self, breaker: Breaker) -> None:
        await opened(breaker)
        go, tasks = asyncio.Event(), list[asyncio.Task[None]]()

        async def slow() -> None:
            await go.wait()
            raise OSError

        async def tried() -> bool:
            if breaker.state is State.CLOSED:
                return True
            with suppress(CircuitOpenError):
                async with breaker.guard():
                    tasks.append(asyncio.create_task(breaker.execute(slow)))
                    await asyncio.sleep(0)
            return False

        await eventually(tried)
        go.set()
        await asyncio.wait(tasks)
        assert isinstance(tasks[0].exception(), OSError)
        assert recorded(breaker) == (1, 3)


async def test_a_body_read_later_counts_no_second_time(
    coordinator: Coordinator, breaker: Breaker
) -> None:
    class Body(httpx.AsyncByteStream):
        def __init__(self, error: Exception | None) -> None:
            self.error = error

        async def __aiter__(self) -> AsyncIterator[bytes]:
            yield b"paid"
            if self.error is not None:
                raise self.error

    def answer(request: httpx.Request) -> httpx.Response:
        breaks = request.url.path == "/breaks"
        return httpx.Response(200, stream=Body(httpx.ReadError("reset") if breaks else None))

    transport = BreakerTransport(
        coordinator, httpx.MockTransport(answer), circuits=lambda _: "payments"
    )
    async with httpx.AsyncClient(transport=transport, base_url="http://payments.test") as web:
        async with breaker.guard():
            response = await web.send(web.build_request("GET", "/"), stream=True)
        assert await response.aread() == b"paid"
        assert recorded(breaker) == (1, 0)
        async with breaker.guard():
            response = await web.send(web.build_request("GET", "/breaks"), stream=True)
        with pytest.raises(httpx.ReadError):
            await response.aread()
    assert recorded(breaker) == (2, 1)


async def test_once_the_circuit_has_moved_on_it_is_asked_again(breaker: Breaker) -> None:
    async with breaker.guard():
        await opened_elsewhere(breaker)
        with pytest.raises(CircuitOpenError):
            await breaker.execute(fine)


async def opened_elsewhere(breaker: Breaker) -> None:
    """In a context of its own: as another request of the process does it."""
    await asyncio.create_task(opened(breaker), context=Context())


async def test_a_generator_may_be_resumed_anywhere(breaker: Breaker) -> None:
    """A guard inside a generator is left in another context than it was entered in."""

    async def items() -> AsyncIterator[int]:
        async with breaker.guard():
            yield 1

    generator = items()
    assert await asyncio.create_task(anext(generator)) == 1  # type: ignore[arg-type]
    assert await asyncio.create_task(anext(generator, None)) is None  # type: ignore[arg-type]
    await breaker.execute(fine)
    assert recorded(breaker) == (2, 0)


async def test_a_lost_permit_carries_nothing(breaker: Breaker) -> None:
    """Of whoever forgets both to set it down and to tell it."""
    for _ in range(3):
        breaker.acquire().carry()
    for _ in range(3):
        with suppress(OSError):
            await breaker.execute(fails)
    await eventually(lambda: breaker.state is State.OPEN)
    assert recorded(breaker) == (0, 3)


async def test_a_lost_permit_leaves_the_one_further_out(breaker: Breaker) -> None:
    async with breaker.guard():
        breaker.acquire().carry()
        await breaker.execute(fine)
    await breaker.execute(fine)
    assert recorded(breaker) == (2, 0)


class TestWaitingForTheCaller:
    """An upload that its own caller makes slow is no slow call, neither of the transport nor of
    what is around it."""

    @pytest.fixture
    async def breaker(self) -> AsyncIterator[Breaker]:
        strategy = CountWindow(size=4, failure_rate=0.9, minimum_calls=2, slow_rate=0.5)
        async with Coordinator(policy=BreakerPolicy(strategy=strategy, slow_call=0.4)) as slow:
            self.coordinator = slow
            yield slow.breaker("payments")

    @pytest.mark.parametrize(("outer", "inner"), SOME_PAIRS)
    async def test_slow_upload(self, breaker: Breaker, outer: Way, inner: Way) -> None:
        async def upload() -> AsyncIterator[bytes]:
            await asyncio.sleep(0.5)
            yield b"invoice"

        async def answer(request: httpx.Request) -> httpx.Response:
            await request.aread()
            return httpx.Response(200)

        transport = BreakerTransport(
            self.coordinator, httpx.MockTransport(answer), circuits=lambda _: "payments"
        )
        async with httpx.AsyncClient(transport=transport, base_url="http://payments.test") as web:
            await outer(breaker, lambda: inner(breaker, lambda: web.post("/", content=upload())))
        assert [run.slow for run in circuit_of(breaker).waiting] == [False]

    @pytest.mark.parametrize("ends", ["resumed", "stopped", "told"])
    async def test_the_time_counts_again(self, breaker: Breaker, ends: str) -> None:
        async with breaker.guard():
            inner = breaker.acquire()
            inner.pause_clock()
            if ends == "resumed":
                inner.resume_clock()
                inner.resume_clock()
            elif ends == "stopped":
                inner.stop_clock()
            inner.record(Outcome.SUCCESS)
            await asyncio.sleep(0.5)
        assert [run.slow for run in circuit_of(breaker).waiting] == [True]

    async def test_the_one_further_out_is_told_already(self, breaker: Breaker) -> None:
        async with breaker.guard() as permit:
            inner = breaker.acquire()
            inner.pause_clock()
            permit.record(Outcome.SUCCESS)
            inner.resume_clock()
        assert not circuit_of(breaker).in_flight.began


async def test_slow_calls_are_counted_once() -> None:
    policy = BreakerPolicy(strategy=ConsecutiveFailures(3), slow_call=0.01)
    async with Coordinator(policy=policy) as coordinator:
        breaker = coordinator.breaker("payments")
        async with breaker.guard():
            await breaker.execute(asyncio.sleep, 0.05)
        assert recorded(breaker) == (1, 0)


def test_under_trio() -> None:
    async def main() -> tuple[int, int]:
        async with Coordinator(policy=POLICY) as coordinator:
            breaker = coordinator.breaker("payments")
            for _ in range(3):
                breaker.acquire().record(Outcome.FAILURE)

            async def work() -> None:
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(breaker.execute, trio.sleep, 0)
                await trio.to_thread.run_sync(partial(breaker.execute_sync, int))

            with trio.fail_after(20):
                while breaker.state is State.CLOSED:
                    await trio.sleep(0.01)
                while breaker.state is not State.CLOSED:
                    with suppress(CircuitOpenError):
                        await breaker.execute(work)
                    await trio.sleep(0.01)
        return recorded(breaker)

    assert trio.run(main) == (1, 3)


def recorded(breaker: Breaker) -> tuple[int, int]:
    return sum(breaker.successes.counts), sum(breaker.failures.counts)
