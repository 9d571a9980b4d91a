"""Python child processes that a test talks to: one JSON object a line, one reply a command.

The child's side is `tests.helpers.child.serve`.
"""

import asyncio
import json
import os
import queue
import subprocess
import sys
import tempfile
import threading
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import IO, Any, Protocol, Self

from tests.helpers.children import Child
from tests.helpers.waiting import PATIENCE

ROOT = Path(__file__).parents[2]


class ChildError(Exception):
    """The child broke the protocol, failed a command, was too slow or is gone."""


class ChildProcess:
    """A Python process that runs a script (a Path) or a module (its dotted name).

    It can import `tests` and everything the test can, unless it has an interpreter of its own. When
    its standard input closes it is expected to end.
    """

    def __init__(
        self,
        target: Path | str,
        *arguments: str,
        env: Mapping[str, str] | None = None,
        python: Path | str = sys.executable,
    ) -> None:
        self.target = target
        self._stderr: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115
        self._child = Child(
            [str(python), *_run(target), *arguments],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._stderr,
            env={**os.environ, "PYTHONPATH": str(ROOT), **(env or {})},
        )
        self._lines: queue.SimpleQueue[bytes] = queue.SimpleQueue()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def __repr__(self) -> str:
        return f"<ChildProcess {self.target} pid={self.pid}>"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def pid(self) -> int:
        return self._child.pid

    @property
    def running(self) -> bool:
        return self._child.running

    @property
    def stderr(self) -> str:
        """All that it has written to standard error."""
        size = os.fstat(self._stderr.fileno()).st_size
        return os.pread(self._stderr.fileno(), size, 0).decode(errors="replace")

    def send(self, command: Mapping[str, Any]) -> None:
        stdin = self._child.process.stdin
        assert stdin is not None
        try:
            stdin.write(json.dumps(command).encode() + b"\n")
            stdin.flush()
        except OSError as error:
            raise self._error(f"took no command {command!r}: {error}") from error

    def receive(self, *, within: float = PATIENCE) -> dict[str, Any]:
        """The next object it writes."""
        try:
            line = self._lines.get(timeout=within)
        except queue.Empty:
            raise self._error(f"said nothing for {within} s") from None
        if not line:
            with suppress(subprocess.TimeoutExpired):
                self._child.process.wait(1.0)
            raise self._error("closed its output")
        try:
            message = json.loads(line)
        except ValueError:
            raise self._error(f"wrote {line!r}, not a line of JSON") from None
        if not isinstance(message, dict):
            raise self._error(f"wrote {line!r}, not an object")
        return message

    def call(self, do: str, *, within: float = PATIENCE, **arguments: Any) -> Any:
        """Have it do a command of `serve`, and return the result."""
        self.send({"do": do, **arguments})
        reply = self.receive(within=within)
        if "error" in reply:
            raise self._error(f"failed at {do!r}: {reply['error']}")
        return reply["result"]

    async def acall(self, do: str, *, within: float = PATIENCE, **arguments: Any) -> Any:
        """The same while the test's event loop goes on."""
        return await asyncio.to_thread(self.call, do, within=within, **arguments)

    def pause(self) -> None:
        self._child.pause()

    def resume(self) -> None:
        self._child.resume()

    def kill(self) -> None:
        self._child.kill()

    def terminate(self, *, within: float = PATIENCE) -> None:
        """Send SIGTERM and wait for the end."""
        self._child.terminate(within=within)

    def stop(self, *, within: float = PATIENCE) -> int:
        """Close its standard input, wait for the end, and return its exit code."""
        self._close_stdin()
        self._child.wait_or_kill(within)
        return int(self._child.process.returncode)

    def close(self) -> None:
        """Make sure that it is gone; give it a moment to end by itself."""
        self._child.resume()
        self.stop(within=2.0)
        self._reader.join()
        assert self._child.process.stdout is not None
        self._child.process.stdout.close()
        self._stderr.close()

    def _read(self) -> None:
        assert self._child.process.stdout is not None
        for line in self._child.process.stdout:
            self._lines.put(line)
        self._lines.put(b"")

    def _close_stdin(self) -> None:
        assert self._child.process.stdin is not None
        with suppress(BrokenPipeError):
            self._child.process.stdin.close()

    def _error(self, what: str) -> ChildError:
        state = "runs" if self.running else f"ended with {self._child.process.returncode}"
        return ChildError(
            f"{self!r} {what} (it {state})\n--- its stderr ---\n{self.stderr[-4000:]}"
        )


class StartChild(Protocol):
    """What the fixture `start_child` gives."""

    def __call__(
        self, target: Path | str, *arguments: str, env: Mapping[str, str] | None = None
    ) -> ChildProcess: ...


def _run(target: Path | str) -> list[str]:
    return [str(target)] if isinstance(target, Path) else ["-m", target]
