"""The lifecycle of a coordinator of a fleet in memory."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, Protocol, TypeVar

from .._coordination.lifecycle import Lifecycle
from .._coordination.users import place_here

T = TypeVar("T")


class Run(Protocol):
    """Runs something where a fleet runs."""

    def __call__(self, coro: Coroutine[Any, Any, T]) -> T:
        """Run it; return its result."""
        ...


class FleetLifecycle(Lifecycle):
    """Runs a coordinator where its fleet runs, whichever event loop or thread asks for it.

    The fleet starts it before any app does. The first entered block takes it over, so that it stops
    when the last block is left.

    Args:
        run: Runs something in the fleet's loop.
        loop: The fleet's loop.
        owner: The coordinator.
        settings: As `Lifecycle` has them.
    """

    def __init__(
        self, run: Run, loop: asyncio.AbstractEventLoop, owner: object, **settings: Any
    ) -> None:
        super().__init__(owner, **settings)
        self._run_in_fleet = run
        self._loop = loop
        self._held = False

    def _may_run(self) -> bool:
        return True  # nothing leaves this process

    async def begin(self) -> None:
        """Start it, in the fleet's loop."""
        self._held = True
        await super().start()

    async def end(self) -> None:
        """Undo `begin`, in the fleet's loop."""
        self._held = False
        await super().stop()

    async def end_for_all(self) -> None:
        """End it for all users, in the fleet's loop."""
        await self.end()
        await super().stop()

    async def start(self) -> None:
        self.start_blocking()

    async def stop(self) -> None:
        self.stop_blocking()

    def start_blocking(self) -> None:
        self._there(self.begin)

    def stop_blocking(self) -> None:
        self._there(self.end)

    async def enter(self) -> None:
        self.enter_blocking()

    async def leave(self) -> None:
        self.leave_blocking()

    def enter_blocking(self) -> None:
        self._there(self._enter)

    def leave_blocking(self) -> None:
        self._there(super().leave)

    async def flush(self, patience: float) -> bool:
        return self.flush_blocking(patience)

    def flush_blocking(self, patience: float) -> bool:
        return self._there(lambda: super(FleetLifecycle, self).flush(patience))

    async def ask(self, work: Callable[[], Coroutine[Any, Any, T]], patience: float) -> T:
        if place_here() is self._loop:
            return await super().ask(work, patience)
        return self.ask_sync(work, patience)

    def ask_sync(self, work: Callable[[], Coroutine[Any, Any, T]], patience: float) -> T:
        return self._there(lambda: super(FleetLifecycle, self).ask(work, patience))

    async def _enter(self) -> None:
        await super().enter()
        if self._held:
            await self.end()

    def _there(self, work: Callable[[], Coroutine[Any, Any, T]]) -> T:
        if place_here() is self._loop:
            raise RuntimeError(f"{self._owner!r} cannot wait for itself in its own callbacks")
        return self._run_in_fleet(work())
