"""What functions of users give back, and which of it is still to come."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Generator
from contextlib import asynccontextmanager, contextmanager
from functools import partial
from inspect import (
    isasyncgen,
    isasyncgenfunction,
    isawaitable,
    iscoroutine,
    iscoroutinefunction,
    isgenerator,
    isgeneratorfunction,
    isroutine,
)
from typing import Any


def is_async(function: Callable[..., Any]) -> bool:
    """Whether calling an object returns a coroutine, as far as can be determined without a call."""
    return iscoroutinefunction(function) or iscoroutinefunction(_called(function))


def makes_generators(function: Callable[..., Any]) -> bool:
    """Whether calling an object returns a generator, as far as can be determined without a call."""
    called = _called(function)
    return isgeneratorfunction(called) or isasyncgenfunction(called)


@contextmanager
def _block() -> Generator[None]:
    yield  # pragma: no cover - it is never entered


@asynccontextmanager
async def _async_block() -> AsyncGenerator[None]:
    yield  # pragma: no cover - it is never entered


_BLOCKS = type(_block()), type(_async_block())


def still_to_come(result: object) -> str:
    """What of a result has its work still to come, out of sight: the loop over a generator, or the
    block of a context manager that is made of one (as `client.stream` of httpx is). Empty if the
    work has been done, or is to be awaited."""
    if isinstance(result, _BLOCKS):
        return "block"
    is_loop = isasyncgen(result) or (isgenerator(result) and not isawaitable(result))
    return "loop" if is_loop else ""


def not_awaitable(function: object, result: object) -> str:
    """What to say of a function that was taken for an async one."""
    if what := still_to_come(result):
        return use_guard(function, what)
    return (
        f"execute() is for async functions, but {function!r} returned {type(result).__name__}, "
        "which cannot be awaited: use execute_sync() for plain functions"
    )


def use_guard(function: object, what: str) -> str:
    """What to say of a function whose work is still to come when it has returned."""
    return (
        f"the work of {function!r} is still to come when it has returned: use guard() around "
        f"its {what}"
    )


def is_callers_mistake(error: BaseException) -> bool:
    """Whether a call has failed before it reached the function: that is none, or it takes no such
    arguments. Asked where the function was called."""
    traceback = error.__traceback__
    return isinstance(error, TypeError) and (traceback is None or traceback.tb_next is None)


def explain(function: object) -> None:
    """Say more of something that cannot be called than Python does.

    Raises:
        TypeError: It cannot be called.
    """
    if callable(function):
        return
    if iscoroutine(function):
        function.close()
        raise TypeError(
            f"pass the function and its arguments, execute(fetch, 1), and not the coroutine that "
            f"a call of it gives, execute(fetch(1)): {function!r}"
        )
    raise TypeError(f"a function is needed, not {function!r}")


def _called(function: Callable[..., Any]) -> Callable[..., Any]:
    """What runs when something is called: of partials the function, of objects `__call__`."""
    while isinstance(function, partial):
        function = function.func
    if isroutine(function) or isinstance(function, type):
        return function
    return type(function).__call__
