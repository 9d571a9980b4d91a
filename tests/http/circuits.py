"""Looking at a circuit from outside, and bringing it into a state."""

from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import TypeVar

from tests.helpers.waiting import PATIENCE, eventually
from zenvark_web import Breaker, CircuitOpenError, Outcome, State
from zenvark_web.testing import Fleet

T = TypeVar("T")


def counts(breaker: Breaker) -> tuple[int, int]:
    """The successes and failures that have been recorded."""
    return sum(breaker.successes.counts), sum(breaker.failures.counts)


async def opened(breaker: Breaker) -> None:
    """Open a circuit that one failure opens."""
    breaker.acquire().record(Outcome.FAILURE)
    await eventually(lambda: breaker.state is State.OPEN, within=PATIENCE)


async def half_opened(breaker: Breaker) -> None:
    """Open a circuit, and wait until it lets trial calls pass here."""
    await opened(breaker)
    await eventually(lambda: takes_a_call(breaker), within=PATIENCE)


def takes_a_call(breaker: Breaker) -> bool:
    """Whether a call would pass now. One that does not tells the leader that there is demand."""
    try:
        breaker.acquire().record(Outcome.IGNORED)
    except CircuitOpenError:
        return False
    return True


def half_open(fleet: Fleet, breaker: Breaker) -> None:
    """Let a circuit of a simulated fleet have permits for trial calls, on a clock that stands still
    from then on."""
    fleet.trip(breaker)
    fleet.down.discard(breaker.name)
    while breaker.state is not State.HALF_OPEN:
        with suppress(CircuitOpenError):  # it tells that there are calls to make
            breaker.acquire()
        fleet.advance(0.1)
    fleet.advance(0.1)  # the holder reads on before it uses its permits


async def let_through(call: Callable[[], Awaitable[T]]) -> T:
    """Make a call as soon as a trial permit lets it pass: one that waits too long on a busy host
    goes back and has to be granted again."""

    async def attempt() -> tuple[T] | None:
        try:
            return (await call(),)
        except CircuitOpenError:
            return None

    (result,) = await eventually(attempt, within=PATIENCE)
    return result
