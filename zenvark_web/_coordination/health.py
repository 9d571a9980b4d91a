"""Runs health checks: a bounded number at a time, each for a bounded time."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from .._core.circuit import Check
from .._core.policy import BreakerPolicy
from ..statistics import Statistics
from .surface import Surface

MAX_CHECKS = 32
CHECK_TIMEOUT = 10.0
MAX_ERROR_LENGTH = 200


class HealthChecks:
    """The health checks of one leader.

    Args:
        surface: Where errors go.
        statistics: Counts checks.
        monotonic: This host's monotonic seconds.
    """

    def __init__(
        self, surface: Surface, statistics: Statistics, monotonic: Callable[[], float]
    ) -> None:
        self._surface = surface
        self._statistics = statistics
        self._monotonic = monotonic
        self._places = asyncio.Semaphore(MAX_CHECKS)
        self._tasks: asyncio.TaskGroup | None = None

    def open(self, tasks: asyncio.TaskGroup) -> None:
        """Run checks in this group from now on."""
        self._tasks = tasks

    def start(
        self,
        circuit: str,
        policy: BreakerPolicy,
        check: Check,
        done: Callable[[str | None], None],
    ) -> None:
        """Run one check as soon as there is a place.

        Args:
            circuit: The circuit's name.
            policy: Its settings.
            check: What is asked for.
            done: Told how it ended: None if it passed, else its error.
        """
        assert self._tasks is not None
        self._tasks.create_task(self._run(circuit, policy, check, done))

    async def _run(
        self,
        circuit: str,
        policy: BreakerPolicy,
        check: Check,
        done: Callable[[str | None], None],
    ) -> None:
        async with self._places:
            began = self._monotonic()
            error = await self._outcome(circuit, policy, check)
            seconds = self._monotonic() - began
        self._statistics.health_check_ended(circuit, check.type, error is None, seconds)
        done(error)

    async def _outcome(self, circuit: str, policy: BreakerPolicy, check: Check) -> str | None:
        try:
            run = policy.health_check_of(circuit)
            assert run is not None
            async with asyncio.timeout(CHECK_TIMEOUT):
                await run(check.type)
        except TimeoutError:
            return f"health check gave no answer in time (at most {CHECK_TIMEOUT:g} s)"
        except asyncio.CancelledError:
            if asyncio.current_task().cancelling():  # type: ignore[union-attr]
                raise
            return "health check was cancelled from within"
        except Exception as error:
            return f"health check failed: {type(error).__name__}: {error}"[:MAX_ERROR_LENGTH]
        return None
