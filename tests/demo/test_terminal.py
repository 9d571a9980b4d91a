"""The demo on a terminal: a table that lives where it can, plain lines where it can't."""

import os
import pty
import signal
import struct
import sys
from collections.abc import Mapping
from fcntl import ioctl
from termios import TIOCSWINSZ

import pytest

from tests.helpers.children import Child
from tests.helpers.command import ROOT
from tests.helpers.waiting import PATIENCE

HIDE_CURSOR, SHOW_CURSOR = "\x1b[?25l", "\x1b[?25h"
DECIDING = {"NO_COLOR", "FORCE_COLOR", "COLUMNS", "LINES"}
TABLE = "● closed"
COLOURS = [f"\x1b[{number}m" for number in range(30, 38)]


def on_terminal(until: str, *, columns: int = 80, rows: int = 24, **env: str) -> tuple[str, int]:
    """Run the demo on a terminal up to a text, then press Ctrl-C; what it wrote, and its code."""
    ours, theirs = pty.openpty()
    ioctl(theirs, TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
    inherited = {name: value for name, value in os.environ.items() if name not in DECIDING}
    child = Child(
        [sys.executable, "-m", "zenvark_web", "demo", "--no-server"],
        cwd=ROOT,
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        env={**inherited, "TERM": "xterm-256color", **env},
    )
    os.close(theirs)
    try:
        written = _read(ours, until)
        child.process.send_signal(signal.SIGINT)
        written += _read(ours, None)
        return written, child.process.wait(PATIENCE)
    finally:
        child.kill()
        os.close(ours)


def _read(terminal: int, until: str | None) -> str:
    """Up to a text, or to the end, which Linux tells by an error."""
    written = b""
    while until is None or until.encode() not in written:
        try:
            chunk = os.read(terminal, 65536)
        except OSError:
            break
        if not chunk:
            break
        written += chunk
    return written.decode()


@pytest.mark.slow
def test_a_terminal_shows_a_table_and_gets_its_cursor_back() -> None:
    written, code = on_terminal(TABLE)
    assert code == 130
    assert any(colour in written for colour in COLOURS)
    assert written.count(HIDE_CURSOR) == 1
    assert written.rindex(SHOW_CURSOR) > written.rindex(HIDE_CURSOR)
    assert "Traceback" not in written


@pytest.mark.slow
def test_no_color_means_no_colour() -> None:
    written, _ = on_terminal(TABLE, NO_COLOR="1")
    assert TABLE in written
    assert not any(colour in written for colour in COLOURS)


@pytest.mark.slow
@pytest.mark.parametrize(
    "terminal",
    [{"TERM": "dumb"}, {"columns": 79}, {"rows": 13}],
    ids=["dumb", "narrow", "low"],
)
def test_a_terminal_that_can_show_no_table_gets_plain_lines(terminal: Mapping[str, str]) -> None:
    written, code = on_terminal("joined the fleet", **terminal)
    assert code == 130
    assert "\x1b" not in written
