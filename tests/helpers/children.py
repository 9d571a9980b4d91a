"""Child processes that end when the test run ends, however it ends."""

import atexit
import ctypes
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from typing import IO

from tests.helpers.waiting import PATIENCE

_LIBC = ctypes.CDLL(None) if sys.platform == "linux" else None
_PR_SET_PDEATHSIG = 1

_children: list["Child"] = []


class Child:
    """A process whose signals are delivered before the method that sends them returns."""

    def __init__(
        self,
        arguments: Sequence[str | os.PathLike[str]],
        *,
        cwd: str | os.PathLike[str],
        stdin: int = subprocess.DEVNULL,
        stdout: int | IO[bytes] = subprocess.DEVNULL,
        stderr: int | IO[bytes] = subprocess.DEVNULL,
        env: dict[str, str] | None = None,
    ) -> None:
        self.process = subprocess.Popen(
            [os.fspath(argument) for argument in arguments],
            cwd=cwd,
            stdin=stdin,
            stdout=stdout,
            stderr=stderr,
            env=env,
            preexec_fn=_prepare(),  # noqa: PLW1509 - it does two system calls
        )
        _children.append(self)

    @property
    def pid(self) -> int:
        return self.process.pid

    @property
    def running(self) -> bool:
        return self.process.poll() is None

    def pause(self) -> None:
        self.process.send_signal(signal.SIGSTOP)
        os.waitpid(self.pid, os.WUNTRACED)

    def resume(self) -> None:
        self.process.send_signal(signal.SIGCONT)

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    def terminate(self, *, within: float = PATIENCE) -> None:
        """Ask it to end; a process that does not is killed."""
        self.process.terminate()
        self.resume()
        self.wait_or_kill(within)

    def wait_or_kill(self, within: float) -> None:
        try:
            self.process.wait(within)
        except subprocess.TimeoutExpired:
            self.kill()


def _prepare() -> Callable[[], None]:
    dies_with_parent = _dies_with_parent()

    def prepare() -> None:
        # A shell starts what runs in its background with this signal ignored.
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        if dies_with_parent:
            _ask_for_death_signal()

    return prepare


def _dies_with_parent() -> bool:
    # The kernel ties the signal to the thread that forks, so a worker thread's end would kill
    # the child: only the main thread's lasts as long as the test run.
    return _LIBC is not None and threading.current_thread() is threading.main_thread()


def _ask_for_death_signal() -> None:
    if _LIBC is not None:
        _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


@atexit.register
def _kill_all() -> None:
    for child in _children:
        child.kill()
