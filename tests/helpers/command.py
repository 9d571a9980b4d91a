"""`zenvark-web` as tests run it: in this process, or as a process of its own."""

import asyncio
import contextlib
import io
import os
import queue
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Self

import pytest

from tests.helpers.children import Child
from tests.helpers.waiting import PATIENCE
from zenvark_web.cli import main

ROOT = Path(__file__).parents[2]

OF_USERS = {"ZENVARK_REDIS", "ZENVARK_NAMESPACE"}


@dataclass(frozen=True)
class Result:
    """What a command printed, and its exit code."""

    code: int
    out: str
    err: str

    @property
    def lines(self) -> list[str]:
        """The lines, with single blanks."""
        return [" ".join(line.split()) for line in self.out.splitlines()]

    def row(self, start: str) -> str:
        """The one line that begins with this word."""
        [found] = [line for line in self.lines if line.split(" ")[0] == start]
        return found


def run(*arguments: str) -> Result:
    """Run a command in this process."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = main(arguments)
    return Result(code, out.getvalue(), err.getvalue())


async def arun(*arguments: str) -> Result:
    """Run a command in a thread, while this loop's servers go on."""
    return await asyncio.to_thread(run, *arguments)


class Running:
    """A command in a process of its own, whose output is read line by line.

    Args:
        arguments: The arguments of the command.
        program: A program to run in its place.
        env: Further variables of its environment.
    """

    def __init__(
        self, *arguments: str, program: str | None = None, env: Mapping[str, str] | None = None
    ) -> None:
        self._stderr: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115
        start = ["-m", "zenvark_web"] if program is None else ["-c", program]
        inherited = {name: value for name, value in os.environ.items() if name not in OF_USERS}
        self.child = Child(
            [sys.executable, *start, *arguments],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=self._stderr,
            env={**inherited, **(env or {})},
        )
        self.lines: list[str] = []
        self._ended = False
        self._arriving: queue.SimpleQueue[str | None] = queue.SimpleQueue()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.child.kill()
        self._reader.join()
        assert self.child.process.stdout is not None
        self.child.process.stdout.close()
        self._stderr.close()

    @property
    def output(self) -> str:
        """All that was read so far."""
        return "\n".join(self.lines)

    @property
    def stderr(self) -> str:
        self._stderr.seek(0)
        return self._stderr.read().decode()

    def interrupt(self) -> None:
        """Press Ctrl-C."""
        self.child.process.send_signal(signal.SIGINT)

    def until(self, text: str) -> str:
        """The next line that holds a text."""
        while (line := self._next()) is not None:
            if text in line:
                return line
        pytest.fail(f"it ended without {text!r}:\n{self.output}\n{self.stderr}")

    async def auntil(self, text: str) -> str:
        """The same, while this loop's servers go on."""
        return await asyncio.to_thread(self.until, text)

    def end(self) -> int:
        """Read to its end, if that has not been done; the exit code."""
        while not self._ended and self._next() is not None:
            pass
        return self.child.process.wait(PATIENCE)

    def _next(self) -> str | None:
        try:
            line = self._arriving.get(timeout=PATIENCE)
        except queue.Empty:
            pytest.fail(f"it printed nothing for {PATIENCE} s:\n{self.output}\n{self.stderr}")
        if line is None:
            self._ended = True
        else:
            self.lines.append(line)
        return line

    def _read(self) -> None:
        assert self.child.process.stdout is not None
        for line in self.child.process.stdout:
            self._arriving.put(line.decode().rstrip("\n"))
        self._arriving.put(None)
