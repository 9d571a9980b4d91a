"""Health checks as people write them: plain functions, some that hang, some that go through the
very circuit they are to close, and some that are wrong."""

import asyncio
import logging
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import httpx
import pytest

from tests.helpers.inside import leader_of
from tests.helpers.processes import StartChild
from tests.helpers.waiting import PATIENCE, eventually
from zenvark_web import (
    Breaker,
    BreakerPolicy,
    BreakerTransport,
    CircuitOpenError,
    ConsecutiveFailures,
    ConstantBackoff,
    Coordinator,
    HealthCheckError,
    HealthCheckType,
    HttpHealthCheck,
    Outcome,
    State,
)
from zenvark_web._judging import health
from zenvark_web._runtime import threads


def policy(check: Any, **settings: Any) -> BreakerPolicy:
    return BreakerPolicy(
        strategy=ConsecutiveFailures(1),
        backoff=ConstantBackoff(0.05),
        health_check=check,
        **settings,
    )


async def opened(breaker: Breaker) -> None:
    breaker.acquire().record(Outcome.FAILURE)
    await eventually(lambda: breaker.state is State.OPEN)


class Check:
    def __init__(self) -> None:
        self.types: list[HealthCheckType] = []
        self.threads: set[int] = set()

    def __call__(self, type_: HealthCheckType) -> None:
        self.types.append(type_)
        self.threads.add(threading.get_ident())
        if len(self.types) < 3:
            raise ConnectionError


class ByName:
    def __init__(self) -> None:
        self.names: list[str] = []

    def for_circuit(self, name: str) -> Callable[[HealthCheckType], None]:
        return lambda _: self.names.append(name)


class TestPlainFunctions:
    async def test_run_in_a_thread(self) -> None:
        check = Check()
        async with Coordinator(policy=policy(check)) as coordinator:
            breaker = coordinator.breaker("payments")
            await opened(breaker)
            await eventually(lambda: breaker.state is State.CLOSED)
        assert check.types == [HealthCheckType.RECOVERY] * 3
        assert threading.get_ident() not in check.threads

    async def test_by_name(self) -> None:
        check = ByName()
        async with Coordinator(policy=policy(check)) as coordinator:
            breaker = coordinator.breaker("payments")
            await opened(breaker)
            await eventually(lambda: breaker.state is State.CLOSED)
        assert check.names == ["payments"]

    async def test_what_they_give_back_is_awaited(self) -> None:
        seen: list[bool] = []

        async def check(_: HealthCheckType) -> None:
            seen.append(True)
            if len(seen) < 3:
                raise ConnectionError

        async with Coordinator(policy=policy(lambda type_: check(type_))) as coordinator:  # noqa: PLW0108
            breaker = coordinator.breaker("payments")
            await opened(breaker)
            await eventually(lambda: breaker.state is State.CLOSED)
        assert len(seen) == 3

    async def test_false_is_no_health(self) -> None:
        answers = [True, False, False]
        async with Coordinator(policy=policy(lambda _: answers.pop())) as coordinator:
            breaker = coordinator.breaker("payments")
            await opened(breaker)
            await eventually(lambda: breaker.state is State.CLOSED)
        assert answers == []

    async def test_one_that_ends_its_thread_has_failed(self) -> None:
        def check(_: HealthCheckType) -> None:
            raise SystemExit(3)

        async with Coordinator(policy=policy(check)) as coordinator:
            breaker = coordinator.breaker("payments")
            await opened(breaker)
            await eventually(lambda: breaker.generation > 2)
            assert breaker.state is State.OPEN

    async def test_the_event_loop_goes_on(self) -> None:
        async with Coordinator(policy=policy(lambda _: time.sleep(1))) as coordinator:
            breaker = coordinator.breaker("payments")
            await opened(breaker)
            pauses: list[float] = []
            while breaker.state is not State.CLOSED:
                began = time.monotonic()
                await asyncio.sleep(0.005)
                pauses.append(time.monotonic() - began)
            assert max(pauses) < 0.9


class TestHanging:
    """A thread cannot be ended from outside."""

    async def test_has_one_thread_for_each_circuit(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(health, "CHECK_TIMEOUT", 0.05)
        go, began = threading.Event(), list[int]()

        def check(_: HealthCheckType) -> None:
            began.append(1)
            go.wait(60)

        async with Coordinator(policy=policy(check)) as coordinator:
            breaker = coordinator.breaker("payments")
            await opened(breaker)
            await eventually(lambda: breaker.generation > 4)
            assert len(began) == 1
            go.set()
            await eventually(lambda: breaker.state is State.CLOSED)
            assert len(began) == 2

    async def test_there_are_no_more_than_so_many(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(health, "CHECK_TIMEOUT", 0.05)
        monkeypatch.setattr(threads, "MOST_HANGING", 3)
        go, began = threading.Event(), list[int]()

        def check(_: HealthCheckType) -> None:
            began.append(1)
            go.wait(60)

        async with Coordinator(policy=policy(check)) as coordinator:
            breakers = [coordinator.breaker(f"service {number}") for number in range(6)]
            for breaker in breakers:
                await opened(breaker)
            await eventually(lambda: all(breaker.generation > 4 for breaker in breakers[:3]))
            assert len(began) == 3
            assert {breaker.generation for breaker in breakers[3:]} == {1}
            go.set()
            await eventually(lambda: all(b.state is State.CLOSED for b in breakers))

    @pytest.mark.parametrize("why", ["as many as there may be", "the system has no more"])
    async def test_says_nothing_of_other_circuits(
        self, why: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        """The 65th plain check of a process counted as failed, and opened a healthy circuit."""
        monkeypatch.setattr(health, "CHECK_TIMEOUT", 0.05)
        room = threading.Event()
        if why == "the system has no more":
            start = threads.CheckThread.start

            def refuse(thread: threads.CheckThread) -> None:
                if thread.circuit == "good" and not room.is_set():
                    raise RuntimeError("can't start new thread")
                start(thread)

            monkeypatch.setattr(threads.CheckThread, "start", refuse)
        else:
            monkeypatch.setattr(threads, "MOST_HANGING", 3)
        checked = threading.Event()
        hanging = policy(lambda _: room.wait(60))
        good = policy(lambda _: checked.set(), idle_interval=0.2)
        policies = {"dead-*": hanging, "good": good}
        async with Coordinator(policies=policies) as coordinator:
            dead = [coordinator.breaker(f"dead-{number}") for number in range(6)]
            for each in dead:
                await opened(each)
            await eventually(lambda: sum(each.generation > 2 for each in dead) >= 3)
            breaker = coordinator.breaker("good")
            await eventually(lambda: "Health checks are delayed" in caplog.text)
            await asyncio.sleep(0.1)  # one that had room before has ended
            checked.clear()
            await asyncio.sleep(0.5)
            assert (breaker.state, breaker.generation) == (State.CLOSED, 0)
            assert not checked.is_set()
            room.set()
            await eventually(checked.is_set, what="it is checked when there is room")
            assert breaker.state is State.CLOSED
        told = [vars(record).get("zenvark_event") for record in caplog.records]
        assert told.count("checks_wait") == 1

    async def test_leaves_room_to_circuits_that_have_worked(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(health, "CHECK_TIMEOUT", 0.05)
        monkeypatch.setattr(threads, "MOST_HANGING", 3)
        go = threading.Event()
        policies = {"dead-*": policy(lambda _: go.wait(60)), "good": policy(lambda _: None)}
        async with Coordinator(policies=policies) as coordinator:
            dead = [coordinator.breaker(f"dead-{number}") for number in range(6)]
            for each in dead:
                await opened(each)
            await eventually(lambda: sum(each.generation > 2 for each in dead) >= 3)
            breaker = coordinator.breaker("good")
            breaker.acquire().record(Outcome.SUCCESS)
            await opened(breaker)
            await eventually(lambda: breaker.state is State.CLOSED)
            go.set()

    async def test_is_what_its_circuit_does_until_its_thread_ends(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A check that was refused, as the one before hung, took no time: its circuit went before
        those that do not hang."""
        monkeypatch.setattr(health, "CHECK_TIMEOUT", 0.05)
        go = threading.Event()
        async with Coordinator(policy=policy(lambda _: go.wait(60))) as coordinator:
            breaker = coordinator.breaker("dead")
            await opened(breaker)
            await eventually(lambda: breaker.generation > 4)
            judge = leader_of(coordinator)._evaluator
            place = judge._circuits.place("dead")
            assert place is not None
            assert place.checks_hang
            go.set()

    def test_does_not_hold_up_the_end_of_the_program(self, start_child: StartChild) -> None:
        child = start_child("tests.coordination.hanging_check")
        assert child.receive(within=PATIENCE) == {"checking": True}
        assert child.stop(within=PATIENCE) == 0


class TestItsOwnCircuit:
    """A check that goes through the circuit which it is to close could never pass."""

    @pytest.mark.parametrize("way", ["execute", "guard", "plain guard", "transport", "thread"])
    async def test_lets_it_pass(self, way: str) -> None:
        down = True

        def answer(_: httpx.Request) -> httpx.Response:
            return httpx.Response(500 if down else 200)

        async def ask() -> None:
            if down:
                raise ConnectionError

        async def check(_: HealthCheckType) -> None:
            if way == "execute":
                await breaker.execute(ask)
            elif way == "guard":
                async with breaker.guard():
                    await ask()
            elif way == "plain guard":
                with breaker.guard(), breaker.guard():
                    await ask()
            else:
                (await client.get("http://payments/")).raise_for_status()

        def check_plainly(_: HealthCheckType) -> None:
            with breaker.guard():
                if down:
                    raise ConnectionError

        used = check_plainly if way == "thread" else check
        async with Coordinator(policy=policy(used)) as coordinator:
            breaker = coordinator.breaker("payments")
            transport = BreakerTransport(coordinator, httpx.MockTransport(answer))
            async with httpx.AsyncClient(transport=transport) as client:
                await opened(breaker)
                await eventually(lambda: breaker.generation > 2)
                with pytest.raises(CircuitOpenError):
                    breaker.acquire()
                down = False
                await eventually(lambda: breaker.state is State.CLOSED)
            assert (sum(breaker.successes.counts), sum(breaker.failures.counts)) == (0, 1)

    async def test_not_those_of_others(self) -> None:
        """A check that needs another circuit, or what it has left behind."""
        left: list[asyncio.Task[None]] = []
        go = asyncio.Event()

        async def later() -> None:
            await go.wait()
            await coordinator.breaker("payments").execute(asyncio.sleep, 0)

        async def check(_: HealthCheckType) -> None:
            left.append(asyncio.create_task(later()))
            with pytest.raises(CircuitOpenError):
                await coordinator.breaker("orders").execute(asyncio.sleep, 0)
            raise ConnectionError

        async with Coordinator(policy=policy(check)) as coordinator:
            await opened(coordinator.breaker("orders"))
            await opened(coordinator.breaker("payments"))
            await eventually(lambda: len(left) > 4)
            go.set()
            await asyncio.wait(left)
            assert all(isinstance(task.exception(), CircuitOpenError) for task in left)

    async def test_idle_ones_count_nothing(self) -> None:
        checked: list[HealthCheckType] = []

        async def check(type_: HealthCheckType) -> None:
            checked.append(type_)
            with suppress(ConnectionError):
                await breaker.execute(refuse)

        async with Coordinator(policy=policy(check, idle_interval=0.05)) as coordinator:
            breaker = coordinator.breaker("payments")
            breaker.execute_sync(int)
            await eventually(lambda: len(checked) > 3)
            assert breaker.state is State.CLOSED
            assert sum(breaker.failures.counts) == 0


async def refuse() -> None:
    raise ConnectionError


class Broken:
    async def __call__(self, type_: HealthCheckType) -> None:
        self.client.get("/")  # type: ignore[attr-defined]


class NamesNothing:
    def for_circuit(self, name: str) -> Callable[[], None]:
        return lambda: None


def misspelt(_: HealthCheckType) -> None:
    undefined_name()  # type: ignore[name-defined]  # noqa: F821


class TestTold:
    @pytest.mark.parametrize("check", [Broken(), NamesNothing(), misspelt], ids=range(3))
    async def test_a_check_that_is_wrong_itself(self, check: Any) -> None:
        errors: list[Exception] = []
        async with Coordinator(policy=policy(check), on_error=errors.append) as coordinator:
            breaker = coordinator.breaker("payments")
            await opened(breaker)
            await eventually(lambda: errors)
            assert breaker.state is State.OPEN
        assert isinstance(errors[0], HealthCheckError)
        assert errors[0].circuit == "payments"
        assert isinstance(errors[0].__cause__, TypeError | AttributeError | NameError)

    async def test_each_change_of_how_it_fails(self, caplog: pytest.LogCaptureFixture) -> None:
        caplog.set_level(logging.WARNING, "zenvark_web")
        fails: list[Exception | None] = [
            ConnectionError("no way from port 50123"),
            ConnectionError("no way from port 50124"),
            OSError("no disk"),
            OSError("no disk"),
            ConnectionError("no way from port 50125"),
            None,
        ]

        async def check(_: HealthCheckType) -> None:
            error = fails.pop(0)
            if error is not None:
                raise error

        async with Coordinator(policy=policy(check)) as coordinator:
            breaker = coordinator.breaker("payments")
            await opened(breaker)
            await eventually(lambda: breaker.state is State.CLOSED)
        told = [r.getMessage() for r in caplog.records if "The health check of" in r.getMessage()]
        assert [text.partition("fails: ")[2].split(". Until")[0] for text in told] == [
            "health check failed: ConnectionError: no way from port 50123",
            "health check failed: OSError: no disk",
            "health check failed: ConnectionError: no way from port 50125",
        ]

    async def test_an_error_that_cannot_be_written_down(self) -> None:
        async def check(_: HealthCheckType) -> None:
            raise ConnectionError("\ud800")

        async with Coordinator(policy=policy(check)) as coordinator:
            breaker = coordinator.breaker("payments")
            await opened(breaker)
            await eventually(lambda: breaker.generation > 2)


class TestRefused:
    """What cannot be called as a check is refused where it is passed in."""

    @pytest.mark.parametrize(
        "check",
        [
            lambda: None,
            lambda type_, name: None,
            lambda *, type_: None,
            Broken().__call__.__func__,
            HttpHealthCheck,
            Broken,
            "http://payments/health",
            5,
        ],
        ids=range(8),
    )
    def test_checks(self, check: Any) -> None:
        with pytest.raises(TypeError, match="health_check"):
            BreakerPolicy(health_check=check)

    def test_generators(self) -> None:
        async def check(type_: HealthCheckType) -> Any:
            yield type_

        with pytest.raises(TypeError, match="health_check must not be a generator"):
            BreakerPolicy(health_check=check)

    def test_checks_by_name(self) -> None:
        class Nameless:
            def for_circuit(self) -> Any:
                raise NotImplementedError

        with pytest.raises(TypeError, match=r"for_circuit of health_check .*Nameless is called"):
            BreakerPolicy(health_check=Nameless())  # type: ignore[arg-type]

    @pytest.mark.parametrize("classify", [lambda: Outcome.FAILURE, refuse, 5], ids=range(3))
    def test_classifiers(self, classify: Any) -> None:
        with pytest.raises(TypeError, match="classify"):
            BreakerPolicy(classify=classify)

    def test_an_async_classifier(self) -> None:
        async def classify(_: object) -> Outcome:
            return Outcome.FAILURE

        with pytest.raises(TypeError, match="classify must be a plain function"):
            BreakerPolicy(classify=classify)  # type: ignore[arg-type]

    @pytest.mark.parametrize(
        "check", [lambda type_, again=1: None, lambda *_: None, print, max], ids=range(4)
    )
    def test_others_are_not(self, check: Any) -> None:
        assert BreakerPolicy(health_check=check).health_check is check
