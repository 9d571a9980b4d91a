"""The demo's child processes, as their parent sees them. Their side is `child`."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
import tempfile
from contextlib import suppress
from typing import IO

from .errors import SetupError

READY_PATIENCE = 60.0
END_PATIENCE = 8.0
LAST_WORDS = 1_000
LOCAL = {"NO_PROXY": "127.0.0.1", "no_proxy": "127.0.0.1"}


class Child:
    """A process that ends when its standard input closes.

    Args:
        name: What to call it.
        process: The process.
        stderr: Where its standard error goes.
    """

    def __init__(self, name: str, process: asyncio.subprocess.Process, stderr: IO[bytes]) -> None:
        self.name = name
        self.killed: bool = False
        self._process = process
        self._stderr = stderr

    @classmethod
    async def start(cls, name: str) -> Child:
        """Start one; it waits for its settings."""
        stderr = tempfile.TemporaryFile()  # noqa: SIM115 - closed by `end`
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-P", "-m", f"{__package__}.child", name),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=stderr,
            env={**os.environ, **LOCAL, "PYTHONPATH": _import_path()},
            start_new_session=True,  # Ctrl-C is for the parent alone
        )
        return cls(name, process, stderr)

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    @property
    def lost(self) -> str | None:
        """How it ended, if it ended unasked."""
        code = self._process.returncode
        if code is None or self.killed:
            return None
        return f"{self.name} ended with exit code {code}{self._last_words()}"

    async def configure(self, **settings: object) -> dict[str, str]:
        """Send its settings, and return what it tells when it is ready.

        Raises:
            SetupError: It can't do its part.
        """
        assert self._process.stdin is not None  # noqa: S101
        assert self._process.stdout is not None  # noqa: S101
        self._process.stdin.write(json.dumps(settings).encode() + b"\n")
        try:
            async with asyncio.timeout(READY_PATIENCE):
                line = await self._process.stdout.readline()
        except TimeoutError:
            raise SetupError(f"{self.name} was not ready within {READY_PATIENCE:g} s") from None
        if not line:
            raise SetupError(f"{self.name} ended before it was ready{self._last_words()}")
        told: dict[str, str] = json.loads(line)
        if "error" in told:
            raise SetupError(told["error"])
        return told

    def kill(self) -> None:
        """End it the hard way, as part of the show."""
        self.killed = True
        with suppress(ProcessLookupError):
            self._process.kill()

    async def end(self) -> None:
        """Ask it to end, and see to it."""
        assert self._process.stdin is not None  # noqa: S101
        self._process.stdin.close()
        try:
            async with asyncio.timeout(END_PATIENCE):
                await self._process.wait()
        except TimeoutError:
            self._process.kill()
            await self._process.wait()
        self._end_offspring()
        self._stderr.close()

    def _end_offspring(self) -> None:
        """See to what a child that was killed has left behind in its process group."""
        if self._process.returncode and hasattr(os, "killpg"):
            with suppress(ProcessLookupError):
                os.killpg(self.pid, signal.SIGKILL)

    def _last_words(self) -> str:
        self._stderr.seek(0)
        words = self._stderr.read().decode(errors="replace").strip()
        return f":\n{words[-LAST_WORDS:]}" if words else ""


def _import_path() -> str:
    """What this process imports from, wherever it was started."""
    return os.pathsep.join(map(os.path.abspath, sys.path))
