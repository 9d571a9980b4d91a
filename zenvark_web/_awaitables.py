"""What functions of users give back, and which of it is still to come."""

from __future__ import annotations

from collections.abc import Callable
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
    """Whether calling something gives a coroutine, as far as can be told without a call."""
    return iscoroutinefunction(function) or iscoroutinefunction(_called(function))


def makes_generators(function: Callable[..., Any]) -> bool:
    """Whether calling something gives a generator, as far as can be told without a call."""
    called = _called(function)
    return isgeneratorfunction(called) or isasyncgenfunction(called)


def is_generator(result: object) -> bool:
    """Whether the work has yet to be done, by a loop."""
    return (isgenerator(result) and not isawaitable(result)) or isasyncgen(result)


def not_awaitable(function: object, result: object) -> str:
    """What to say of a function that was taken for an async one."""
    return (
        f"execute() is for async functions, but {function!r} returned {type(result).__name__}, "
        "which cannot be awaited: use execute_sync() for plain functions"
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
