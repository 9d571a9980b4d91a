"""Work that is done at the same time, and of which nothing goes on after an error."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from types import TracebackType
from typing import Any, Self, TypeVar

T = TypeVar("T")


class Together:
    """Starts tasks, and ends those that still run at the end of the block.

        async with Together() as start:
            one, other = await asyncio.gather(start(read()), start(write()))

    `asyncio.gather` alone raises the first error while the other tasks go on: they would connect
    again after their user has closed the connections. `asyncio.TaskGroup` would wrap the error.
    """

    def __init__(self) -> None:
        self._tasks: list[asyncio.Task[Any]] = []

    def __call__(self, work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        """Start a task."""
        task = asyncio.create_task(work)
        self._tasks.append(task)
        return task

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
