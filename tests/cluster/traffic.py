"""Calls at a steady rate, as a busy web process makes them."""

import asyncio
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import TypedDict

import httpx

from zenvark_web import CircuitOpenError


class UpstreamError(Exception):
    """The upstream failed, or a call that is told to fail did."""


class Counts(TypedDict):
    """How many calls ended how, and the seconds that the slowest hundredth took at least."""

    ended: dict[str, int]
    p99: float


class Traffic:
    """Calls at a steady rate, each in a task of its own, until stopped.

    Args:
        call: Makes one call.
        rate: Calls per second.
    """

    def __init__(self, call: Callable[[], Awaitable[object]], rate: float) -> None:
        self._call = call
        self._pause = 1 / rate
        self._ended: Counter[str] = Counter()
        self._seconds: list[float] = []
        self._calls: set[asyncio.Task[None]] = set()
        self._source = asyncio.create_task(self._run())

    @property
    def ended(self) -> int:
        """How many calls ended since they were counted last."""
        return self._ended.total()

    def counts(self) -> Counts:
        """The calls that ended since this was last asked."""
        seconds = sorted(self._seconds)
        counts = Counts(
            ended=dict(self._ended), p99=seconds[len(seconds) * 99 // 100] if seconds else 0.0
        )
        self._ended.clear()
        self._seconds.clear()
        return counts

    def cancel_calls(self) -> int:
        """Cancel the calls under way; tells how many there were."""
        return sum(call.cancel() for call in self._calls)

    async def stop(self) -> None:
        self._source.cancel()
        self.cancel_calls()
        await asyncio.gather(self._source, *self._calls, return_exceptions=True)

    async def _run(self) -> None:
        while True:
            call = asyncio.create_task(self._one())
            self._calls.add(call)
            call.add_done_callback(self._calls.discard)
            await asyncio.sleep(self._pause)

    async def _one(self) -> None:
        began = time.perf_counter()
        self._ended[await self._outcome()] += 1
        self._seconds.append(time.perf_counter() - began)

    async def _outcome(self) -> str:
        try:
            await self._call()
        except CircuitOpenError:
            return "rejected"
        except (UpstreamError, httpx.HTTPError):
            return "failed"
        except asyncio.CancelledError:
            return "cancelled"
        except Exception as error:  # the test compares them
            return repr(error)
        return "passed"
