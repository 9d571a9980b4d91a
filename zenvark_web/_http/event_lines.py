"""The `data:` lines of an event stream, while its bytes pass (WHATWG HTML, section 9.2.6)."""

from __future__ import annotations

import re
from collections.abc import Iterator

LONGEST_LINE = 65_536
"""The most bytes of a line that are kept until it ends. Longer lines are left out."""

LINE_END = re.compile(rb"\r\n|\n|\r")
BYTE_ORDER_MARK = b"\xef\xbb\xbf"
FIELD = b"data"


class EventLines:
    """Finds the `data:` lines in the chunks of a body, wherever they are cut."""

    __slots__ = ("_after_return", "_begun", "_start", "_too_long")

    def __init__(self) -> None:
        self._start = bytearray()  # of the line that has not ended
        self._too_long = False
        self._begun = False
        self._after_return = False  # a line feed would belong to the end of the line before

    def feed(self, chunk: bytes) -> Iterator[bytes]:
        """Yield the values of the `data:` lines that end within a chunk."""
        if self._after_return and chunk:
            self._after_return = False
            chunk = chunk.removeprefix(b"\n")
        begin = 0
        for end in LINE_END.finditer(chunk):
            yield from self._line(chunk[begin : end.start()])
            begin = end.end()
        self._after_return = chunk.endswith(b"\r")
        self._keep(chunk[begin:])

    def end(self) -> Iterator[bytes]:
        """Yield the value of a last `data:` line without an end."""
        yield from self._line(b"")

    def _keep(self, part: bytes) -> None:
        self._too_long = self._too_long or len(self._start) + len(part) > LONGEST_LINE
        if self._too_long:
            self._start.clear()
        else:
            self._start += part

    def _line(self, rest: bytes) -> Iterator[bytes]:
        self._keep(rest)
        line, too_long = bytes(self._start), self._too_long
        self._start.clear()
        self._too_long = False
        if not self._begun:
            self._begun = True
            line = line.removeprefix(BYTE_ORDER_MARK)
        name, colon, value = line.partition(b":")
        if name == FIELD and colon and not too_long:
            yield value.removeprefix(b" ")
