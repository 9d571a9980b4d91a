"""Runs health checks: a bounded number at a time, each for a bounded time."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from .._core.circuit import Check
from .._core.policy import BreakerPolicy
from ..exceptions import described
from ..statistics import Statistics
from .surface import ends_this_task

MAX_CHECKS = 32
CHECK_TIMEOUT = 10.0
MAX_ERROR_LENGTH = 200


class HealthChecks:
    """The health checks of one leader.

    Args:
        statistics: Counts checks.
        monotonic: This host's monotonic seconds.
    """

    def __init__(self, statistics: Statistics, monotonic: Callable[[], float]) -> None:
        self._statistics = statistics
        self._monotonic = monotonic
        self._places = asyncio.Semaphore(MAX_CHECKS)

    async def run(self, circuit: str, policy: BreakerPolicy, check: Check) -> str | None:
        """Run one check as soon as there is a place.

        Args:
            circuit: The circuit's name.
            policy: Its settings.
            check: What is asked for.

        Returns:
            None if it passed, else its error.
        """
        async with self._places:
            began = self._monotonic()
            error = await self._outcome(circuit, policy, check)
            seconds = self._monotonic() - began
        self._statistics.health_check_ended(circuit, check.type, error is None, seconds)
        return error

    async def _outcome(self, circuit: str, policy: BreakerPolicy, check: Check) -> str | None:
        try:
            async with asyncio.timeout(CHECK_TIMEOUT):
                await policy.health_check_of(circuit)(check.type)
        except TimeoutError:
            return f"health check gave no answer in time (at most {CHECK_TIMEOUT:g} s)"
        except BaseException as error:
            if ends_this_task(error):
                raise
            return f"health check failed: {described(error)}"[:MAX_ERROR_LENGTH]
        return None
