"""The service's programs, as people run them: uvicorn or gunicorn with workers, Celery's pool."""

import asyncio
import os
import re
import signal
import sys
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from typing import Self

from tests.helpers.children import Child
from tests.helpers.ports import Port
from tests.helpers.processes import ROOT
from tests.helpers.waiting import PATIENCE, eventually
from tests.http.server import HOST

"""Seconds in which a busy host gets round to starting its workers."""


class Program:
    """A program with worker processes, and what it writes.

    Args:
        arguments: The program's module and its arguments.
        ready: A pattern that it writes once for each worker that has started.
        workers: How many there are.
        environment: Beside the test's own.
    """

    def __init__(
        self, *arguments: str, ready: str, workers: int, environment: Mapping[str, str]
    ) -> None:
        self._arguments = arguments
        self._ready = ready
        self._workers = workers
        self._environment = environment
        self._output = tempfile.TemporaryFile()  # noqa: SIM115 - closed with the program

    async def __aenter__(self) -> Self:
        self._child = Child(
            [sys.executable, "-m", *self._arguments],
            cwd=ROOT,
            stdout=self._output,
            stderr=self._output,
            env={**os.environ, "PYTHONPATH": str(ROOT), **self._environment},
        )
        try:
            await eventually(self._is_up, within=PATIENCE, what=self._arguments[0])
        except BaseException:
            await self.stop()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()
        self._output.close()

    @property
    def log(self) -> str:
        size = os.fstat(self._output.fileno()).st_size
        return os.pread(self._output.fileno(), size, 0).decode(errors="replace")

    @property
    def exit_code(self) -> int | None:
        return self._child.process.returncode

    def _is_up(self) -> bool:
        assert self._child.running, self.log
        return len(re.findall(self._ready, self.log)) >= self._workers

    async def stop(self) -> None:
        if not self._child.running:
            return
        await asyncio.to_thread(self._child.terminate, within=PATIENCE)
        if self.exit_code == -signal.SIGKILL:  # it did not see to its workers
            for pid in set(re.findall(r"(?:process|pid:) \[?(\d+)\]?", self.log)):
                with suppress(ProcessLookupError):
                    os.kill(int(pid), signal.SIGKILL)


def web(server: str, port: Port, environment: Mapping[str, str]) -> Program:
    """Two workers of a web server."""
    address = f"{HOST}:{port.number}"
    if server == "uvicorn":
        arguments = ["uvicorn", "--workers", "2", "--host", HOST, "--port", str(port.number)]
        arguments += ["--timeout-graceful-shutdown", "5"]
        ready = "Application startup complete"
    else:
        arguments = ["gunicorn", "-k", "asgi", "-w", "2", "-b", address]
        arguments += ["--graceful-timeout", "5"]
        ready = "Booting worker with pid"
    return Program(
        *arguments, "tests.service.app:app", ready=ready, workers=2, environment=environment
    )


def tasks(module: str, environment: Mapping[str, str]) -> Program:
    """Celery with a pool of two forked processes for the tasks in a module."""
    arguments = ["celery", "-A", module, "worker", "-c", "2", "-P", "prefork"]
    arguments += ["-l", "info", "--without-gossip", "--without-mingle"]
    return Program(*arguments, ready="ready\\.", workers=1, environment=environment)
