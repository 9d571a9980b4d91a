"""Judges the `data:` lines of an event stream while they pass."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, TypeAlias

from .._core._checks import check_call
from .._core.awaitables import is_async
from .._core.states import Outcome
from ..exceptions import ClassifierError
from .event_lines import EventLines
from .messages import described

JudgeChunk: TypeAlias = Callable[[bytes], Outcome | None]
"""Returns the outcome that the value of a `data:` line means, or None."""

Judge: TypeAlias = Callable[[bytes, Any], Outcome | None]
"""The same for a line and its request. It never raises."""


def check_judge_chunk(judge: object) -> None:
    """Refuse an object that cannot judge lines."""
    if not callable(judge) or isinstance(judge, type) or is_async(judge):
        raise TypeError(
            "judge_chunk must be a plain function of the bytes of an event stream's data line, "
            f"which returns an Outcome or None, not {judge!r}"
        )
    check_call("judge_chunk", judge, "the bytes of an event stream's data line", b"")


def checked_judge(judge: JudgeChunk, report: Callable[[Exception], None]) -> Judge:
    """A judge that never raises. A line counts as None when the user's raises.

    Args:
        judge: The user's function.
        report: Receives its errors.

    Raises:
        TypeError: It cannot judge lines.
    """
    check_judge_chunk(judge)
    name = getattr(judge, "__qualname__", type(judge).__qualname__)

    def judge_safely(line: bytes, request: Any) -> Outcome | None:
        try:
            outcome = judge(line)
            if outcome is None or outcome.__class__ is Outcome:
                return outcome
            raise TypeError(f"judge_chunk must return an Outcome or None, not {outcome!r}")
        except Exception as cause:
            what = f"judge_chunk {name!r} failed for {described(request)}; the line was ignored"
            report(ClassifierError.because(cause, what, source=name))
            return None

    return judge_safely


class JudgedEvents:
    """The judgement of one event stream.

    Args:
        judge: Judges a line.
        request: The request.

    Attributes:
        lines: How many lines have been judged.
    """

    __slots__ = ("_judge", "_lines", "_request", "lines")

    def __init__(self, judge: Judge, request: Any) -> None:
        self._judge = judge
        self._request = request
        self._lines = EventLines()
        self.lines = 0

    def outcome(self, chunk: bytes) -> Outcome | None:
        """The outcome that the first line of consequence in a chunk means, or None."""
        return self._first(self._lines.feed(chunk))

    def last(self) -> Outcome | None:
        """The same for a last line without an end."""
        return self._first(self._lines.end())

    def _first(self, lines: Iterator[bytes]) -> Outcome | None:
        for line in lines:
            self.lines += 1
            outcome = self._judge(line, self._request)
            if outcome is not None:
                return outcome
        return None
