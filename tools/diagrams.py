"""The diagrams of the documentation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from tools.svg import WIDTH, Canvas, Palette
from zenvark_web._core.ramp import Ramp


def streams(colours: Palette) -> Canvas:
    """Who writes to which stream, and who reads it."""
    paint = Canvas(
        372,
        "All instances write results to one stream. The leader, one of them, reads it and writes "
        "transitions to another stream, which all instances read.",
        colours,
    )
    for number in range(3):
        left = 10 + number * 175
        paint.box(left, 8, 150, 56, f"instance {number + 1}", "breakers, in memory")
        paint.arrow((left + 55, 64), (60 + number * 70, 150), colour=colours.accent)
        paint.arrow((318 + number * 70, 150), (left + 95, 66), colour=colours.good)
    paint.box(10, 150, 240, 44, "stream “results”")
    paint.box(270, 150, 240, 44, "stream “states”")
    paint.box(150, 256, 220, 50, "leader", "one of the instances")
    paint.arrow((100, 194), (100, 281), (148, 281), colour=colours.accent)
    paint.arrow((370, 281), (420, 281), (420, 196), colour=colours.good)
    paint.text(92, 226, "reads", anchor="end", size=12, colour=colours.faint)
    paint.text(428, 226, "transitions,", size=12, colour=colours.faint)
    paint.text(428, 241, "fenced", size=12, colour=colours.faint)
    paint.arrow((260, 306), (260, 338), colour=colours.half)
    paint.text(270, 326, "health checks", size=12, colour=colours.faint)
    paint.text(260, 358, "upstream", anchor="middle", bold=True)
    return paint


def states(colours: Palette) -> Canvas:
    """The states of a circuit, and what moves it."""
    paint = Canvas(
        292,
        "A closed circuit opens when its strategy trips. An open one closes when a health check "
        "passes, or becomes half-open for trial calls or for a ramp, which close it or open it "
        "again.",
        colours,
    )
    paint.box(8, 62, 132, 52, "closed", "calls pass")
    paint.box(380, 62, 132, 52, "open", "calls are rejected")
    paint.box(194, 214, 132, 62, "half-open", "trial calls pass,", "or a rising share")
    paint.arrow((140, 76), (378, 76), colour=colours.bad)
    paint.arrow((380, 100), (142, 100), colour=colours.good)
    paint.arrow((430, 114), (430, 245), (328, 245), colour=colours.half)
    paint.arrow((300, 214), (300, 160), (400, 160), (400, 116), colour=colours.bad)
    paint.arrow((194, 245), (74, 245), (74, 116), colour=colours.good)
    paint.arrow((420, 62), (420, 34), (470, 34), (470, 60), colour=colours.bad)
    faint = colours.faint
    paint.text(260, 68, "strategy trips, idle check fails", anchor="middle", size=12, colour=faint)
    paint.text(260, 116, "health check passes", anchor="middle", size=12, colour=faint)
    paint.text(445, 26, "check fails: longer wait", anchor="middle", size=12, colour=faint)
    paint.text(438, 210, "trial granted,", size=12, colour=faint)
    paint.text(438, 225, "ramp begins", size=12, colour=faint)
    paint.text(340, 154, "trial or ramp fails", anchor="middle", size=12, colour=faint)
    paint.text(134, 239, "trials, ramp pass", anchor="middle", size=12, colour=faint)
    return paint


def ramp(colours: Palette) -> Canvas:
    """The share of calls that is permitted, from an outage to the end of a ramp."""
    paint = Canvas(
        236,
        "The permitted share of calls over time: all while the circuit is closed, none while it is "
        "open, then 10 %, 25 % and 50 % for five seconds each, then all.",
        colours,
    )
    schedule = Ramp((0.1, 0.25, 0.5), 5.0)
    began, second, floor, height = 200, 15, 190, 150
    opened, closed = 90, began + schedule.length * second

    def block(left: float, right: float, share: float, colour: str) -> None:
        paint.rect(left, floor - share * height, right - left - 1, share * height, colour, radius=2)

    block(48, opened, 1.0, colours.good)
    for number, share in enumerate(schedule.shares):
        left = began + number * schedule.step * second
        right = left + schedule.step * second
        block(left, right, share, colours.half)
        middle, top = (left + right) / 2, floor - share * height - 6
        paint.text(middle, top, f"{share:.0%}", anchor="middle", size=12, bold=True)
    block(closed, WIDTH - 8, 1.0, colours.good)
    paint.line(48, floor, WIDTH - 8, floor, colours.faint)
    for share in (0.0, 0.5, 1.0):
        height_of = floor - share * height + 4
        paint.text(42, height_of, f"{share:.0%}", anchor="end", size=12, colour=colours.faint)
    for left, right, state in (
        (48, opened, "closed"),
        (opened, began, "open"),
        (began, closed, "half-open: a ramp"),
        (closed, WIDTH - 8, "closed"),
    ):
        paint.text((left + right) / 2, floor + 20, state, anchor="middle", size=12)
    paint.text(8, 20, "permitted calls", size=12, colour=colours.faint)
    paint.arrow((began, 96), (began, floor - 2), colour=colours.accent)
    paint.text(began, 88, "check or trial passed", anchor="middle", size=12, colour=colours.faint)
    paint.text(began, floor + 38, "0 s", anchor="middle", size=12, colour=colours.faint)
    for number in range(1, len(schedule.shares) + 1):
        at = number * schedule.step
        paint.text(
            *(began + at * second, floor + 38),
            f"{at:g} s",
            anchor="middle",
            size=12,
            colour=colours.faint,
        )
    return paint


@dataclass(frozen=True, slots=True)
class Message:
    """An arrow of a sequence.

    Args:
        start, end: The lanes, by number.
        text: What is sent.
        kind: Its colour, by the palette's name.
    """

    start: int
    end: int
    text: str
    kind: str = "accent"


@dataclass(frozen=True, slots=True)
class Note:
    """What happens in one lane.

    Args:
        lane: Which.
        text: What happens.
        kind: Its colour.
    """

    lane: int
    text: str
    kind: str = "faint"


STEP = 36


def sequence(
    title: str, lanes: Sequence[str], steps: Sequence[Message | Note], colours: Palette
) -> Canvas:
    """Lanes from top to bottom, and what passes between them."""
    paint = Canvas(74 + STEP * len(steps), title, colours)
    width = (WIDTH - 10) / len(lanes)
    middles = [5 + width * (number + 0.5) for number in range(len(lanes))]
    for middle, name in zip(middles, lanes, strict=True):
        paint.line(middle, 40, middle, 60 + STEP * len(steps), colours.faint, dashed=True)
        paint.box(middle - width / 2 + 4, 6, width - 8, 34, name)
    for number, step in enumerate(steps):
        y = 78 + STEP * number
        colour = getattr(colours, step.kind)
        if isinstance(step, Note):
            _on_page(paint, middles[step.lane], y - 4, step.text, colour, boxed=True)
            continue
        start, end = middles[step.start], middles[step.end]
        paint.arrow((start, y), (end, y), colour=colour)
        _on_page(paint, (start + end) / 2, y - 6, step.text, colours.ink)
    return paint


def _on_page(
    paint: Canvas, x: float, y: float, words: str, colour: str, *, boxed: bool = False
) -> None:
    """Centred text that is moved to where it is inside the picture."""
    half = len(words) * 3.6 + 6
    x = min(max(x, half), WIDTH - half)
    if boxed:
        paint.rect(x - half, y - 15, 2 * half, 21, paint.colours.panel, radius=4)
    paint.text(x, y, words, anchor="middle", size=12.5, colour=colour)


def grant(colours: Palette) -> Canvas:
    """A trial call's permit, from grant to verdict."""
    other, holder, redis, leader = range(4)
    return sequence(
        "The leader grants a trial permit to one instance. That instance makes the call and "
        "reports its result; the leader closes the circuit for all.",
        ("others", "holder", "Redis", "leader"),
        (
            Message(holder, redis, "calls were blocked"),
            Message(redis, leader, "report"),
            Note(leader, "the wait is over", "half"),
            Message(leader, redis, "grant to holder", "half"),
            Message(redis, holder, "half-open", "half"),
            Message(redis, other, "half-open: go on rejecting", "half"),
            Note(holder, "one call passes", "good"),
            Message(holder, redis, "1 success"),
            Message(redis, leader, "report"),
            Message(leader, redis, "closed", "good"),
            Message(redis, holder, "closed", "good"),
            Message(redis, other, "closed", "good"),
        ),
        colours,
    )


def takeover(colours: Palette) -> Canvas:
    """A leader that dies or stalls, and the next one."""
    old, redis, new = range(3)
    return sequence(
        "The lease of a dead leader expires; a follower takes it with a higher epoch, goes on from "
        "the checkpoint, and writes of the old leader are refused.",
        ("old leader", "Redis", "follower"),
        (
            Message(old, redis, "renews the lease, epoch 7"),
            Message(old, redis, "checkpoint, every 5 s"),
            Note(old, "is killed, or stalls", "bad"),
            Note(redis, "lease expires, 2 s at most", "half"),
            Message(new, redis, "takes the lease, epoch 8", "good"),
            Message(redis, new, "states, checkpoint", "good"),
            Message(redis, new, "results since then", "good"),
            Message(new, redis, "transitions, epoch 8", "good"),
            Message(old, redis, "late write, epoch 7", "bad"),
            Note(redis, "refused: fenced", "bad"),
        ),
        colours,
    )


def cut_off(colours: Palette) -> Canvas:
    """An instance that does not reach Redis for a while."""
    instance, redis, rest = range(3)
    return sequence(
        "An instance that is cut off holds the last states, or judges for itself. When Redis is "
        "back, it reads the news and sends its recent results.",
        ("instance", "Redis", "other instances"),
        (
            Message(redis, instance, "states"),
            Message(redis, rest, "states"),
            Note(instance, "connection is lost", "bad"),
            Note(instance, "“hold”: keeps the last states", "half"),
            Note(instance, "“local”: judges its own results", "half"),
            Message(redis, rest, "states, as ever"),
            Message(instance, redis, "connects again", "good"),
            Message(redis, instance, "current states", "good"),
            Message(instance, redis, "results of the last 10 s", "good"),
        ),
        colours,
    )


def quorum(colours: Palette) -> Canvas:
    """One bad instance, which the leader leaves out, and which protects itself."""
    paint = Canvas(
        330,
        "Three instances report calls to the leader. All calls of the third fail, because its own "
        "egress is broken. Without it, the threshold is not reached: the fleet's circuit stays "
        "closed, the third instance is a suspect, and rejects calls for itself.",
        colours,
    )
    told = (("instance 1", "0 of 20 failed"), ("instance 2", "1 of 20 failed"))
    for number, lines in enumerate(told):
        left = 10 + number * 175
        paint.box(left, 8, 150, 56, *lines)
        paint.arrow((left + 75, 64), (left + 75, 128), colour=colours.good)
    paint.box(360, 8, 150, 56, "instance 3", "60 of 60 failed")
    paint.arrow((435, 64), (435, 128), colour=colours.bad)
    paint.box(10, 130, 500, 62, "leader", "61 of 100 failed: the threshold is reached")
    paint.arrow((130, 192), (130, 240), colour=colours.good)
    paint.arrow((435, 192), (435, 240), colour=colours.half)
    faint = colours.faint
    paint.text(140, 220, "without instance 3: 1 of 40", size=12, colour=faint)
    paint.text(427, 220, "suspect", anchor="end", size=12, colour=faint)
    paint.box(10, 242, 240, 62, "circuit of the fleet", "stays closed")
    paint.box(360, 242, 150, 62, "instance 3", "rejects its own calls")
    return paint


def layers(colours: Palette) -> Canvas:
    """The layers of a composed client."""
    rows = (
        ("your code, or an SDK", "gets the response, a 503 or CircuitOpenError"),
        ("retries", "each attempt asks the breaker; an open circuit ends them"),
        ("cache", "what is cached is answered, whatever the circuit's state"),
        ("BreakerTransport", "permits or rejects, and counts what comes back"),
        ("httpx.AsyncHTTPTransport", "connections, TLS, proxy, connect retries: one call"),
        ("upstream", ""),
    )
    height, gap = 48, 14
    paint = Canvas(
        len(rows) * (height + gap),
        "From outside to inside: your code, retries, a cache, the breaker, the transport of httpx "
        "with its proxy, and the upstream.",
        colours,
    )
    tops = [4 + number * (height + gap) for number in range(len(rows))]
    for top, (name, about) in zip(tops, rows, strict=True):
        paint.box(40, top, WIDTH - 80, height, *(line for line in (name, about) if line))
    for above, below in pairwise(tops):
        paint.arrow((WIDTH / 2, above + height), (WIDTH / 2, below), colour=colours.accent)
    return paint
