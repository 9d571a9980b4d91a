"""A command on a terminal."""

import os
import pty
import signal
import struct
import subprocess
import sys
import time
from fcntl import ioctl
from pathlib import Path
from select import select
from termios import TIOCSWINSZ

from tests.helpers.children import Child
from tests.helpers.waiting import PATIENCE

ROOT = Path(__file__).parents[2]


class OnTerminal:
    """A Python process on a terminal of 100 columns and 24 rows."""

    def __init__(self, *arguments: str, columns: int = 100, rows: int = 24) -> None:
        self._ours, theirs = pty.openpty()
        ioctl(theirs, TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
        self.child = Child(
            [sys.executable, *arguments],
            cwd=ROOT,
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            env={
                **{name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ},
                "TERM": "xterm-256color",
            },
        )
        os.close(theirs)
        self.written = ""

    def until(self, text: str | None) -> None:
        """Read up to a text, or to the end."""
        deadline = time.monotonic() + PATIENCE
        while text is None or text not in self.written:
            ready, _, _ = select([self._ours], [], [], max(0.0, deadline - time.monotonic()))
            assert ready, self.written
            try:
                chunk = os.read(self._ours, 65_536)
            except OSError:
                chunk = b""
            if not chunk:
                break
            self.written += chunk.decode("utf-8", "replace")
        assert text is None or text in self.written, self.written

    def until_it_reads(self) -> None:
        """Wait until the process sleeps. A signal just before it reads would only be noted."""
        command = ["ps", "-o", "stat=", "-p", str(self.child.pid)]
        deadline = time.monotonic() + PATIENCE
        while not subprocess.check_output(command, text=True).startswith("S"):
            assert time.monotonic() < deadline

    def type(self, text: str) -> None:
        """Type a text."""
        os.write(self._ours, text.encode())

    def end(self, number: signal.Signals | None = None) -> int:
        """Read to its end, if so after a signal; the exit code."""
        if number is not None:
            self.child.process.send_signal(number)
        self.until(None)
        os.close(self._ours)
        return self.child.process.wait(PATIENCE)
