"""How many runs of results one leader reads and evaluates in a second of CPU time.

    python benchmarks/judging.py

A thousand circuits of fifty instances, 200 of them in each batch, as a store returns them: decoding
is included, the network is not. The calls of a run have succeeded, or one in a hundred runs is a
failure.
"""

from __future__ import annotations

import asyncio
import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence

from zenvark_web import (
    BreakerPolicy,
    ConsecutiveFailures,
    Coordinator,
    CountWindow,
    Strategy,
    TimeWindow,
)
from zenvark_web._core.order import Position
from zenvark_web._core.states import Report, Run
from zenvark_web._judging.leader import Leader
from zenvark_web.backends._decoding import decode_batch
from zenvark_web.backends._encoding import encode_batch
from zenvark_web.backends.base import Batch, Presence, ResultEntry

CIRCUITS = [f"https://upstream-{number}.example:8443" for number in range(1000)]
INSTANCES = [f"worker-{number}" for number in range(50)]
IN_A_BATCH = 200
ROUNDS = 7
STRATEGIES: Mapping[str, Strategy] = {
    "ConsecutiveFailures(5)": ConsecutiveFailures(5),
    "CountWindow(100, 0.5)": CountWindow(100, 0.5),
    "TimeWindow(60, 0.5)": TimeWindow(60, 0.5),
}
CALLS = 5
ONE_IN = 100


class Office:
    """Nobody who minds."""

    def fenced(self) -> None: ...
    def overtaken(self) -> None: ...
    def present(self, instances: Sequence[Presence]) -> None: ...


class Results:
    """Batches as a store keeps them, from all instances in turn."""

    def __init__(self, clock: Callable[[], float], *, failures: bool) -> None:
        self._clock = clock
        self._failures = failures
        self._number = 0
        self._run = 0

    def round(self) -> Iterator[tuple[Position, dict[str, str]]]:
        """A batch of each instance for each circuit."""
        for first in range(0, len(CIRCUITS), IN_A_BATCH):
            for instance in INSTANCES:
                self._number += 1
                reports = tuple(map(self._report, CIRCUITS[first : first + IN_A_BATCH]))
                batch = Batch(instance, self._number, self._clock(), reports)
                yield Position(int(self._clock() * 1000), self._number), encode_batch(batch)

    def _report(self, circuit: str) -> Report:
        self._run += 1
        failed = self._failures and not self._run % ONE_IN
        label = "ConnectError" if failed else ""
        run = Run(0, failed, False, 1 if failed else CALLS, self._run % 100 / 1000, label)
        return Report(circuit, (run,))


async def measure(strategy: Strategy, *, failures: bool) -> tuple[float, float]:
    """The runs that are decoded and evaluated in a CPU second: the median and the best round."""
    async with Coordinator(policy=BreakerPolicy(strategy=strategy)) as coordinator:
        (shard,) = coordinator._state.shards
        leader = Leader(coordinator._state.instance, shard, 1, CIRCUITS, Office())
        await leader.begin(await shard.backend.load(leading=True))
        results = Results(shard.clock.now, failures=failures)
        rates = []
        for _ in range(1 + ROUNDS):
            entries = list(results.round())
            began = time.process_time()
            for position, fields in entries:
                leader.evaluate(ResultEntry(position, position.seconds, decode_batch(fields)))
            runs = len(entries) * IN_A_BATCH
            rates.append(runs / (time.process_time() - began))
    return statistics.median(rates[1:]), max(rates[1:])


async def main() -> None:
    print(f"{'runs judged per CPU second':40} {'median':>10} {'best':>10}")
    for failures in (False, True):
        for name, strategy in STRATEGIES.items():
            median, best = await measure(strategy, failures=failures)
            what = f"{name}, {'1 % failures' if failures else 'healthy'}"
            print(f"{what:40} {median:10,.0f} {best:10,.0f}")


if __name__ == "__main__":
    asyncio.run(main())
