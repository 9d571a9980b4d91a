"""Runs health checks, each with a time limit."""

from __future__ import annotations

import asyncio
import re
from inspect import isawaitable

from .._circuits.flows import WHOSE, Checked, begun, left
from .._core.awaitables import is_async
from .._core.policy import BreakerPolicy
from .._core.surroundings import Check
from .._runtime.instance import Instance
from .._runtime.notifier import ends_this_task
from .._runtime.threads import NoRoomError, hangs, in_thread
from ..exceptions import HealthCheckError, described

MAX_CHECKS = 32
"""The maximum number of concurrent checks, besides the reserved slots (see `check_places`)."""

# Twice the timeout of httpx, so that the client of a check fails first, with an error that says
# what did not answer.
CHECK_TIMEOUT = 10.0
# The text becomes part of a transition, which every instance reads, and logs.
MAX_ERROR_LENGTH = 200
MAX_FAILING = 10_000

MISTAKES = (TypeError, AttributeError, NameError, ImportError, SyntaxError, NotImplementedError)
"""Exceptions that show a faulty check, which will never pass."""


class HealthChecks:
    """The health checks of one leader.

    Args:
        instance: Counts checks, and reports those that fail differently than before, or are faulty.
    """

    def __init__(self, instance: Instance) -> None:
        self._statistics = instance.statistics
        self._monotonic = instance.host.monotonic
        self._notifier = instance.notifier
        self._failing: dict[str, str] = {}

    async def run(
        self, circuit: str, policy: BreakerPolicy, check: Check, *, trusted: bool = False
    ) -> str | None:
        """Run one health check.

        Args:
            circuit: The circuit's name.
            policy: The circuit's settings.
            check: The requested check.
            trusted: Whether the circuit has worked before.

        Returns:
            None if the check passed, else its error.

        Raises:
            NoRoomError: The check was not run, because other checks take all threads.
        """
        began = self._monotonic()
        error = await self._outcome(circuit, policy, check, trusted)
        seconds = self._monotonic() - began
        self._statistics.health_check_ended(circuit, check.type, error is None, seconds)
        return error

    def hangs(self, circuit: str) -> bool:
        """Return whether a check still runs in its thread after its time limit."""
        return hangs(self._notifier, circuit)

    async def _outcome(
        self, circuit: str, policy: BreakerPolicy, check: Check, trusted: bool
    ) -> str | None:
        flow = begun(Checked(self._notifier, circuit), 0)  # its own calls pass the circuit
        try:
            async with asyncio.timeout(CHECK_TIMEOUT):
                await self._made(circuit, policy, check, trusted)
        except NoRoomError:
            raise
        except TimeoutError as error:
            told = f"health check did not end within {CHECK_TIMEOUT:g} s"
            return self._failed(circuit, told, error)
        except BaseException as error:
            if ends_this_task(error):
                raise
            return self._failed(circuit, f"health check failed: {described(error)}", error)
        finally:
            left(flow)
            flow[WHOSE] = None
        self._failing.pop(circuit, None)
        return None

    async def _made(self, circuit: str, policy: BreakerPolicy, check: Check, trusted: bool) -> None:
        function = policy.health_check_of(circuit)
        if is_async(function):
            result: object = function(check.type)
        else:
            result = await in_thread(self._notifier, circuit, function, check.type, trusted=trusted)
        if isawaitable(result):
            result = await result
        if result is False:
            raise HealthCheckError("the check returned False")

    def _failed(self, circuit: str, told: str, error: BaseException) -> str:
        """Report a failed check, if it passed before or failed differently."""
        told = told.encode("utf-8", "replace").decode()[:MAX_ERROR_LENGTH]
        if isinstance(error, MISTAKES):
            what = f"the health check of circuit {circuit!r} is faulty"
            self._notifier.report_error(HealthCheckError.because(error, what, circuit=circuit))
        elif self._is_news(circuit, told):
            self._notifier.check_fails(circuit, told)
        return told

    def _is_news(self, circuit: str, told: str) -> bool:
        kind = _kind(told)
        # Removed and added again: the dict is in the order of the newest failures.
        known = self._failing.pop(circuit, None)
        if len(self._failing) >= MAX_FAILING:
            del self._failing[next(iter(self._failing))]
        self._failing[circuit] = kind
        return kind != known


def _kind(told: str) -> str:
    """Return an error's text without variable parts: addresses, ports and times."""
    return re.sub(r"0x[0-9a-fA-F]+|\d{5,}", "#", told)
