"""The command as a user runs it, and the processes it starts."""

import os
import queue
import re
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO, Self

import pytest

from tests.helpers.children import Child
from tests.helpers.waiting import PATIENCE

ROOT = Path(__file__).parents[2]


class Demo:
    """A running `zenvark-web demo`, with what it prints."""

    def __init__(self, *arguments: str, env: Mapping[str, str] | None = None) -> None:
        self._stderr: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115
        self.child = Child(
            [sys.executable, "-m", "zenvark_web", "demo", *arguments],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=self._stderr,
            env={**os.environ, **(env or {})},
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
        return "\n".join(self.lines)

    @property
    def stderr(self) -> str:
        self._stderr.seek(0)
        return self._stderr.read().decode()

    def read_until(self, text: str) -> None:
        """Read up to a line that holds this text."""
        while (line := self._next_line()) is not None:
            if text in line:
                return
        pytest.fail(f"it ended without {text!r}:\n{self.output}\n{self.stderr}")

    def end(self) -> int:
        """Read to its end, if that has not been done; returns the exit code."""
        while not self._ended and self._next_line() is not None:
            pass
        return self.child.process.wait(PATIENCE)

    @property
    def timeline(self) -> list[tuple[float, str]]:
        """The lines that tell when something happened."""
        matches = (re.fullmatch(r" *([\d.]+) s  (.*)", line) for line in self.lines)
        return [(float(match[1]), match[2]) for match in matches if match]

    def number(self, label: str) -> str:
        """The number at the end of a summary's line."""
        [line] = [line for line in self.lines if line.startswith("  ") and label in line]
        return line.rsplit("  ", 1)[1].strip()

    def _next_line(self) -> str | None:
        try:
            line = self._arriving.get(timeout=PATIENCE)
        except queue.Empty:
            pytest.fail(f"it said nothing for {PATIENCE} s:\n{self.output}\n{self.stderr}")
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


def descendants(pid: int) -> dict[int, str]:
    """The processes that a process has started, and those that they have: command lines."""
    table = dict(_processes())
    family = {pid}
    while grown := {child for child, (parent, _) in table.items() if parent in family} - family:
        family |= grown
    return {member: table[member][1] for member in family - {pid}}


def still_running(processes: Mapping[int, str], *, within: float = PATIENCE) -> dict[int, str]:
    """Those of these processes that have not ended by then."""
    deadline = time.monotonic() + within
    while True:
        table = dict(_processes())
        left = {pid: name for pid, name in processes.items() if table.get(pid, (0, ""))[1] == name}
        if not left or time.monotonic() > deadline:
            return left
        time.sleep(0.02)


def _processes() -> Iterator[tuple[int, tuple[int, str]]]:
    """Every process: its id, its parent's, its command line. What has ended has none."""
    listed = subprocess.run(
        ["ps", "-A", "-ww", "-o", "pid=,ppid=,stat=,args="],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    for line in listed.splitlines():
        pid, parent, state, name = line.split(None, 3)
        if not state.startswith("Z"):
            yield int(pid), (int(parent), name)
