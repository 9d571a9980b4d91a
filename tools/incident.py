"""A fleet meeting an incident: a real run of the demo, recorded and drawn.

`python -m tools.incident` runs the demo, keeps what happened in incident.json, and
`python -m tools` draws it.
"""

from __future__ import annotations

import asyncio
import json
import time
from dataclasses import asdict, dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

from tools.svg import WIDTH, Canvas, Palette
from zenvark_web.demo.board import Board
from zenvark_web.demo.fleet import running
from zenvark_web.demo.journal import EventKind
from zenvark_web.demo.scenario import Scenario
from zenvark_web.demo.settings import DemoSettings

RECORDING = Path(__file__).with_name("incident.json")
SAMPLING = 0.1
BEFORE, AFTER = 1.5, 2.0
"""Seconds around the incident that are drawn."""


@dataclass(kw_only=True)
class Recording:
    """What happened; all times are seconds since the upstream broke.

    Args:
        store: The server that the fleet used.
        mended: When the upstream was mended.
        states: For each app, when its circuit changed and what it became.
        checks: When a health check ended, and how.
        samples: Stretches of about a tenth of a second: when each began and ended, and how many
            calls were answered, failed and rejected in it.
        findings: What the demo itself says at its end.
    """

    store: str
    mended: float
    states: dict[str, list[tuple[float, str]]]
    checks: list[tuple[float, str]]
    samples: list[tuple[float, float, int, int, int]]
    findings: dict[str, Any] = field(default_factory=dict[str, Any])


async def record() -> Recording:
    """Run the demo once."""
    settings = DemoSettings(plain_output=True)
    async with running(settings) as fleet:
        board = Board(settings, fleet, lambda line: print(f"{line.at:7.2f} s  {line.text}"))
        scenario = Scenario(board)
        counts: list[tuple[float, int, int, int]] = []
        async with asyncio.TaskGroup() as tasks:
            sampling = tasks.create_task(_sample(board, counts))
            problem = await scenario.run()
            sampling.cancel()
        if problem:
            raise SystemExit(problem)
        return _recording(board, scenario, counts, fleet.store)


async def _sample(board: Board, counts: list[tuple[float, int, int, int]]) -> None:
    while True:
        calls = board.traffic.calls.values()
        counts.append(
            (
                time.monotonic(),
                sum(each.answered for each in calls),
                sum(each.failed for each in calls),
                sum(each.rejected for each in calls),
            )
        )
        await asyncio.sleep(SAMPLING)


def _recording(
    board: Board, scenario: Scenario, counts: list[tuple[float, int, int, int]], store: str
) -> Recording:
    incident = board.incident
    if incident is None or incident.mended_at is None or scenario.findings is None:
        raise SystemExit("the demo did not get to its end")
    zero = incident.broke_at
    states: dict[str, list[tuple[float, str]]] = {app: [] for app in incident.apps}
    for event in incident.events:
        if event.kind is EventKind.STATE and event.at >= zero:
            states[event.app].append((_rounded(event.at - zero), event.value))
    return Recording(
        store=store,
        mended=_rounded(incident.mended_at - zero),
        states=states,
        checks=[(_rounded(event.at - zero), event.value) for event in incident.checks],
        samples=[
            _sampled(zero, last, now)
            for last, now in pairwise(counts)
            if last[0] - zero >= -BEFORE and now[0] - incident.mended_at <= AFTER
        ],
        findings=asdict(scenario.findings),
    )


def _sampled(
    zero: float, last: tuple[float, int, int, int], now: tuple[float, int, int, int]
) -> tuple[float, float, int, int, int]:
    (began, *before), (ended, *after) = last, now
    answered, failed, rejected = (int(b - a) for a, b in zip(before, after, strict=True))
    return (_rounded(began - zero), _rounded(ended - zero), answered, failed, rejected)


def _rounded(seconds: float) -> float:
    return round(seconds, 3)


def load() -> Recording:
    """The run that was recorded last."""
    return Recording(**json.loads(RECORDING.read_text()))


LEFT, RIGHT = 80, 8
LANE, GAP = 20, 7


class _Scene:
    def __init__(self, run: Recording, colours: Palette) -> None:
        self._run = run
        self._end = run.mended + AFTER
        self._colours = colours
        figures = run.findings
        self.canvas: Canvas = Canvas(
            402,
            f"Four app processes, one upstream. {figures['open_after'] * 1000:.0f} ms after the "
            "first failed call the circuit is open in all of them; one process checks whether "
            "the upstream is back; then the circuit closes in all of them.",
            colours,
        )

    def x(self, seconds: float) -> float:
        share = (min(max(seconds, -BEFORE), self._end) + BEFORE) / (self._end + BEFORE)
        return LEFT + share * (WIDTH - LEFT - RIGHT)

    def draw(self) -> Canvas:
        self._captions()
        self._lane(44, "upstream", [(0.0, "open"), (self._run.mended, "closed")])
        for number, (app, changes) in enumerate(self._run.states.items()):
            self._lane(92 + number * (LANE + GAP), app, changes)
        self._checks(92 + 4 * (LANE + GAP))
        self._calls(250, 318)
        self._axis(338)
        self._legend(366)
        return self.canvas

    def _captions(self) -> None:
        figures, paint = self._run.findings, self.canvas
        colour = self._colours.faint
        paint.text(self.x(0), 16, "upstream breaks", colour=colour, size=13)
        paint.text(self.x(self._run.mended), 16, "mended", colour=colour, size=13)
        for at in (0.0, self._run.mended):
            for top, bottom in ((22, 66), (90, 318)):  # not through the captions between
                paint.line(self.x(at), top, self.x(at), bottom, colour, dashed=True)
        opened, closed = figures["open_after"], figures["closed_after"]
        paint.text(
            self.x(0) + 8, 84, f"all open after {opened * 1000:.0f} ms",
            colour=self._colours.bad, size=12.5, bold=True,
        )  # fmt: skip
        paint.text(
            WIDTH - RIGHT, 84, f"all closed after {closed * 1000:.0f} ms",
            colour=self._colours.good, size=12.5, bold=True, anchor="end",
        )  # fmt: skip

    def _lane(self, top: float, name: str, changes: list[tuple[float, str]]) -> None:
        paint = self.canvas
        paint.text(LEFT - 8, top + 15, name, anchor="end", size=13)
        kinds = {"closed": self._colours.good, "open": self._colours.bad}
        bounds = [(-BEFORE, "closed"), *changes, (self._end, "")]
        for (start, state), (end, _) in pairwise(bounds):
            width = self.x(end) - self.x(start)
            paint.rect(
                self.x(start), top, width, LANE, kinds.get(state, self._colours.half), radius=2
            )

    def _checks(self, top: float) -> None:
        paint = self.canvas
        paint.text(LEFT - 8, top + 14, "checks", anchor="end", size=13)
        for at, ended in self._run.checks:
            colour = self._colours.good if ended == "passed" else self._colours.bad
            paint.dot(self.x(at), top + 10, 5, colour)

    def _calls(self, top: float, bottom: float) -> None:
        paint, colours = self.canvas, self._colours
        paint.text(LEFT - 8, top + 28, "calls", anchor="end", size=13)
        paint.text(LEFT - 8, top + 44, "per second", anchor="end", size=11, colour=colours.faint)
        most = max(sum(counts) / (end - start) for start, end, *counts in self._run.samples)
        for start, end, *counts in self._run.samples:
            base, width = bottom, self.x(end) - self.x(start)
            for count, colour in zip(
                counts, (colours.good, colours.bad, colours.second), strict=True
            ):
                height = count / (end - start) / most * (bottom - top)
                if count:
                    paint.rect(self.x(start), base - height, width, height, colour, radius=0)
                base -= height

    def _axis(self, y: float) -> None:
        for second in range(0, int(self._end) + 1, 2):
            self.canvas.text(
                self.x(second), y, f"{second} s", anchor="middle", size=12,
                colour=self._colours.faint,
            )  # fmt: skip

    def _legend(self, y: float) -> None:
        colours, figures = self._colours, self._run.findings
        entries = (
            (colours.good, "answered, circuit closed"),
            (colours.bad, f"failed ({figures['failed']} calls in all), circuit open"),
            (colours.second, f"rejected: {figures['spared']} calls that the upstream did not get"),
        )  # fmt: skip
        for row, (colour, words) in enumerate(entries):
            self.canvas.rect(LEFT, y + row * 16 - 18, 11, 11, colour, radius=2)
            self.canvas.text(LEFT + 18, y + row * 16 - 8, words, size=12)


def draw(colours: Palette) -> Canvas:
    """The recorded run."""
    return _Scene(load(), colours).draw()


if __name__ == "__main__":
    RECORDING.write_text(json.dumps(asdict(asyncio.run(record()))) + "\n")
