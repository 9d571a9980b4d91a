"""What runs in the background had the context variables of whoever called `start()`, or made the
call that woke it: traces of one request showed the fleet's commands and callbacks."""

import asyncio
import threading
from contextvars import ContextVar, copy_context
from typing import Any

import pytest

from tests.helpers.waiting import eventually, eventually_sync
from zenvark_web import (
    BreakerPolicy,
    ConsecutiveFailures,
    ConstantBackoff,
    Coordinator,
    HealthCheckType,
    MemoryBackend,
    Role,
    State,
    StateChange,
)
from zenvark_web.exceptions import BackendError

TRACE: ContextVar[str] = ContextVar("trace", default="none")


class Seen:
    """A store, callbacks, checks and a strategy that note in which trace they run."""

    def __init__(self, cut_off: str = "hold") -> None:
        self.by: dict[str, set[str]] = {}
        self.up = True
        seen = self

        class Store(MemoryBackend):
            def __getattribute__(self, name: str) -> Any:
                found = super().__getattribute__(name)
                commands = {"heartbeat", "load", "append", "publish", "read", "resign", "close"}
                if name not in commands:
                    return found

                async def noted(*args: Any, **kwargs: Any) -> Any:
                    seen.note(name)
                    if not seen.up and name != "close":
                        raise BackendError("away")
                    return await found(*args, **kwargs)

                return noted

        class Strategy(ConsecutiveFailures):
            def window(self) -> Any:
                seen.note("strategy")
                return ConsecutiveFailures.window(self)

        self.coordinator = Coordinator(
            Store(),
            policy=BreakerPolicy(
                strategy=Strategy(2),
                backoff=ConstantBackoff(0.02),
                health_check=self.check,
                cut_off=cut_off,
            ),
            on_state_change=self.on_state_change,
            on_role_change=self.on_role_change,
            on_error=self.on_error,
        )

    def note(self, what: str) -> None:
        self.by.setdefault(what, set()).add(TRACE.get())

    async def check(self, _: HealthCheckType) -> None:
        self.note("check")

    async def on_state_change(self, _: StateChange) -> None:
        self.note("on_state_change")
        await asyncio.create_task(self.later())

    async def later(self) -> None:
        self.note("later")

    def on_role_change(self, _: Role) -> None:
        self.note("on_role_change")
        asyncio.get_running_loop().call_soon(self.note, "call_soon")

    def on_error(self, _: Exception) -> None:
        self.note("on_error")

    def call(self) -> None:
        TRACE.set("call")
        for _ in range(3):
            try:
                self.coordinator.breaker("upstream").acquire().raised(OSError())
            except Exception:
                return

    @property
    def done(self) -> bool:
        names = {"check", "on_state_change", "later", "on_role_change", "call_soon", "on_error"}
        return names | {"heartbeat", "load", "append", "publish", "read", "strategy"} <= set(
            self.by
        )


def in_a_thread(function: Any) -> None:
    thread = threading.Thread(target=copy_context().run, args=(function,))
    thread.start()
    thread.join()


async def turn(seen: Seen) -> bool:
    seen.coordinator.report_error(ValueError("x"))
    seen.call()
    await asyncio.to_thread(seen.call)
    return seen.done


@pytest.mark.parametrize("way", ["block", "start"])
async def test_in_asyncio(way: str) -> None:
    seen = Seen()
    TRACE.set("start")
    if way == "block":
        async with seen.coordinator:
            await eventually(lambda: turn(seen))
    else:
        await seen.coordinator.start()
        await eventually(lambda: turn(seen))
        TRACE.set("stop")
        await seen.coordinator.stop()
    assert seen.by["resign"] == seen.by["close"] == {"none"}
    assert {trace for traces in seen.by.values() for trace in traces} == {"none"}, seen.by


def test_in_a_thread_of_its_own() -> None:
    seen = Seen()

    def ended() -> bool:
        seen.coordinator.report_error(ValueError("x"))
        in_a_thread(seen.call)
        return seen.done

    TRACE.set("start")
    with seen.coordinator:
        eventually_sync(ended)
    assert {trace for traces in seen.by.values() for trace in traces} == {"none"}, seen.by


async def test_while_it_judges_alone() -> None:
    seen = Seen(cut_off="local")
    TRACE.set("start")
    async with seen.coordinator:
        await eventually(lambda: seen.coordinator.connected)
        seen.up = False
        await eventually(lambda: not seen.coordinator.connected)
        seen.by.clear()

        async def judged() -> bool:
            await turn(seen)
            return {"check", "on_state_change", "strategy"} <= set(seen.by)

        await eventually(judged)
        seen.up = True
        await eventually(lambda: seen.coordinator.breaker("upstream").state is State.CLOSED)
    assert {trace for traces in seen.by.values() for trace in traces} == {"none"}, seen.by
