"""The `data:` lines of an event stream, wherever its bytes are cut."""

import re
from itertools import pairwise

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from zenvark_web._http.event_lines import LONGEST_LINE, EventLines

pieces = st.lists(
    st.sampled_from(
        [b"data", b":", b" ", b"x", b"\n", b"\r", b"\r\n", b"\xef\xbb\xbf", b"event", b"data: y"]
    )
)
cuts = st.lists(st.integers(0, 40), max_size=12)


def lines(*chunks: bytes) -> list[bytes]:
    """The values in a body that came in these chunks."""
    found = EventLines()
    return [*(line for chunk in chunks for line in found.feed(chunk)), *found.end()]


def cut(body: bytes, at: list[int]) -> list[bytes]:
    """The body in chunks; some are empty."""
    ends = [0, *sorted(min(each, len(body)) for each in at), len(body)]
    return [body[begin:end] for begin, end in pairwise(ends)]


@given(pieces, cuts)
@example([b"data:1\r\n\ndata:2"], [7])
def test_same_lines_as_in_one_piece(parts: list[bytes], at: list[int]) -> None:
    body = b"".join(parts)
    found = re.split(rb"\r\n|\r|\n", body.removeprefix(b"\xef\xbb\xbf"))
    values = [line.partition(b":")[2] for line in found if line.startswith(b"data:")]
    assert lines(*cut(body, at)) == [value.removeprefix(b" ") for value in values]


@pytest.mark.parametrize("step", [1, 1000, LONGEST_LINE * 3])
def test_longer_lines_are_left_out(step: int) -> None:
    longest = b"data:" + b"x" * (LONGEST_LINE - 5)
    body = longest + b"\n" + longest + b"x\ndata: z\n"
    chunks = [body[at : at + step] for at in range(0, len(body), step)]
    assert lines(*chunks) == [longest[5:], b"z"]
