"""The demo as a user runs it, and the processes it starts."""

import re
import subprocess
import time
from collections.abc import Iterator, Mapping

from tests.helpers.command import Running
from tests.helpers.waiting import PATIENCE


class Demo(Running):
    """A running `zenvark-web demo`, with what it prints."""

    def __init__(self, *arguments: str, env: Mapping[str, str] | None = None) -> None:
        super().__init__("demo", *arguments, env=env)

    @property
    def timeline(self) -> list[tuple[float, str]]:
        """The lines that tell when something happened."""
        matches = (re.fullmatch(r" *([\d.]+) s  (.*)", line) for line in self.lines)
        return [(float(match[1]), match[2]) for match in matches if match]

    def number(self, label: str) -> str:
        """The number at the end of a summary's line."""
        [line] = [line for line in self.lines if line.startswith("  ") and label in line]
        return line.rsplit("  ", 1)[1].strip()


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
