"""The clocks of streamed calls: how long a call waits for its first chunk, and for each further
one.

A clock runs only while its call waits for the upstream, not while the caller does other work. Two
threads use it: the call's, which starts and stops it, and the monitor's, which looks for clocks
that have passed their limit. Both remove the clock from one dict, in one step of the interpreter,
and the one that finds it there decides. So a call counts once.
"""

from __future__ import annotations

from collections.abc import Callable

NO_FIRST_CHUNK = "no first chunk"
STALLED = "stalled"
"""The labels of the failures."""

UNLIMITED = float("inf")


class StreamClocks:
    """The running clocks of one circuit.

    Args:
        first_chunk: The seconds that a call may wait for its first chunk, or None.
        stall: The seconds that it may wait for each further chunk, or None.
        monotonic: The monotonic seconds.

    Attributes:
        running: The running clocks, by a number that is unique among them.
    """

    __slots__ = ("first_chunk", "monotonic", "running", "stall")

    def __init__(
        self, first_chunk: float | None, stall: float | None, monotonic: Callable[[], float]
    ) -> None:
        self.first_chunk: float = first_chunk or UNLIMITED
        self.stall: float = stall or UNLIMITED
        self.monotonic: Callable[[], float] = monotonic
        self.running: dict[int, StreamClock] = {}

    def fail_late(self, now: float) -> float | None:
        """Fail the calls whose clocks have passed their limit. Return the time at which the next
        clock will (None without further clocks)."""
        next_at = UNLIMITED
        # A list at one go: other threads go on meanwhile.
        for number, clock in list(self.running.items()):
            if clock.ends_at > now:
                next_at = min(next_at, clock.ends_at)
            elif self.running.pop(number, None) is not None:
                clock.fail()
        return None if next_at == UNLIMITED else next_at


class StreamClock:
    """The clock of one call, stopped at first.

    Args:
        clocks: Those of its circuit.
        look_by: Requests that a monitor looks at the circuit by a time.
        fail: Records the call as a failure with this label.

    Attributes:
        ends_at: The monotonic second at which the running clock passes its limit.
    """

    __slots__ = ("_clocks", "_fail", "_label", "_left", "_look_by", "_running", "ends_at")

    def __init__(
        self,
        clocks: StreamClocks,
        look_by: Callable[[float], None],
        fail: Callable[[str], None],
    ) -> None:
        self._clocks = clocks
        self._look_by = look_by
        self._fail = fail
        self._label = NO_FIRST_CHUNK
        self._left = clocks.first_chunk
        self._running = False
        self.ends_at: float = UNLIMITED

    @property
    def awaits_first_chunk(self) -> bool:
        """Whether there is a limit for the first chunk, which has not arrived."""
        return self._label == NO_FIRST_CHUNK and self._left < UNLIMITED

    @property
    def limits_gaps(self) -> bool:
        """Whether there is a limit for the time between chunks."""
        return self._clocks.stall < UNLIMITED

    def start(self) -> None:
        """Run: the call waits for the upstream from now on."""
        if self._left == UNLIMITED or self._running:
            return
        self._running = True
        self.ends_at = self._clocks.monotonic() + self._left
        self._clocks.running[id(self)] = self
        self._look_by(self.ends_at)

    def stop(self) -> bool:
        """Stop: the call no longer waits. Return whether the call is still to be settled: it is
        not if the clock has passed its limit."""
        if not self._running:
            return True
        self._running = False
        if self._clocks.running.pop(id(self), None) is None:
            return False  # a monitor was here
        self._left = self.ends_at - self._clocks.monotonic()
        if self._left < 0:  # no monitor was here in time, as before the coordinator starts
            self.fail()
            return False
        return True

    def chunk(self) -> bool:
        """Stop, since a chunk has arrived, and apply the limit for the next one. Return what `stop`
        returns."""
        to_settle = self.stop()
        self._label = STALLED
        self._left = self._clocks.stall
        return to_settle

    def fail(self) -> None:
        """Record the failure."""
        self._fail(self._label)
