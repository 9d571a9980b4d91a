"""An instance on a host with a wrong clock, or with a loop that others keep busy.

Its arguments are the server's URL, the namespace and the seconds by which the clock is wrong.
"""

import asyncio
import sys
import time

clock = {"wrong by": float(sys.argv[3])}
_true_time = time.time
time.time = lambda: _true_time() + clock["wrong by"]
time.time_ns = lambda: round(time.time() * 1e9)

# Whatever takes these functions from `time` when it is imported takes the wrong ones.
from tests.faults.fleet import Member  # noqa: E402
from tests.helpers.child import serve  # noqa: E402
from zenvark_web import BreakerPolicy, ConstantBackoff, TimeWindow  # noqa: E402
from zenvark_web._coordination import election  # noqa: E402
from zenvark_web._judging import leader  # noqa: E402

leader.TIDY_INTERVAL = election.ANNOUNCE_INTERVAL = 0.3

_LOOK = 0.005

member = Member(
    sys.argv[1],
    namespace=sys.argv[2],
    lease_ttl=1.0,
    policies={
        "window": BreakerPolicy(
            strategy=TimeWindow(30, failure_rate=0.5, minimum_calls=8),
            backoff=ConstantBackoff(0.3),
        )
    },
)


def jump(seconds: float) -> None:
    """Have the clock go wrong by so much."""
    clock["wrong by"] = seconds


def block(seconds: float) -> None:
    """Let nothing else run."""
    time.sleep(seconds)


async def starve(seconds: float, share: float) -> None:
    """Let others run for a small share of the time only."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        time.sleep(0.1 * share)  # noqa: ASYNC251
        await asyncio.sleep(0.1 * (1 - share))


async def becomes(circuit: str, state: str) -> float:
    """Wait for a state, with calls if it is not open; tells for how long."""
    began = time.monotonic()
    while member.state(circuit) != state:
        if state == "closed":
            await member.call(circuit)
        await asyncio.sleep(_LOOK)
    return time.monotonic() - began


def counters() -> dict[str, int]:
    counts = member.coordinator.statistics
    return {name: getattr(counts, name) for name in ("recorded", "evaluated", "expired", "dropped")}


async def main() -> None:
    async with member.coordinator:
        await serve(
            {
                "fail": member.fail,
                "call": member.call,
                "becomes": becomes,
                "state": member.state,
                "leads": lambda: member.leads,
                "told": lambda: member.told,
                "time": time.time,
                "jump": jump,
                "block": block,
                "starve": starve,
                "counters": counters,
            }
        )


asyncio.run(main())
