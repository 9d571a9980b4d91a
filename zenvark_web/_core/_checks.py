"""Checks of settings on arrival: each refuses with a message that says what to pass instead."""

from __future__ import annotations

import sys
from inspect import signature
from typing import TypeGuard

from .awaitables import makes_generators

# Names are fields in Redis and labels of metrics, repeated in each report and each sample.
MAX_NAME_LENGTH = 255


def is_number(value: object) -> TypeGuard[int | float]:
    """Whether a value is a real number (a `bool` is none)."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def check_number(
    what: str,
    value: object,
    *,
    above: float | None = None,
    least: float | None = None,
    most: float | None = None,
    unit: str = "",
) -> None:
    """Refuse a value that is not a finite real number in the given range.

    Raises:
        TypeError: It is not a number (a `bool` is not one either).
        ValueError: It is out of range, infinite or not a number.
    """
    if not is_number(value):
        raise TypeError(f"{what} must be a number{unit and ' of ' + unit}, not {value!r}")
    _check_range(what, value, above=above, least=least, most=most)


def check_whole(what: str, value: object, *, least: int = 1, most: int | None = None) -> None:
    """Refuse a value that is not a whole number in the given range (with the same errors)."""
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"{what} must be a whole number, not {value!r}")
    _check_range(what, value, least=least, most=most)


def check_rate(what: str, value: object) -> None:
    """Refuse a value that is not a share above 0 and up to 1 (with the same errors)."""
    check_number(what, value, above=0, most=1)


def check_call(what: str, function: object, takes: str, *arguments: object) -> None:
    """Refuse a value that cannot be called with such arguments, as far as its signature is known.

    Raises:
        TypeError: It is not callable, takes other arguments, or is a generator.
    """
    if not callable(function):
        raise TypeError(f"{what} must be callable, not {function!r}")
    if makes_generators(function):
        raise TypeError(f"{what} must not be a generator: {function!r}")
    try:
        found = signature(function)
    except (TypeError, ValueError):  # of some built-in functions it can't be had
        return
    try:
        found.bind(*arguments)
    except TypeError as error:
        raise TypeError(
            f"{what} is called with {takes}, but {function!r} takes {found}: {error}"
        ) from None


def check_name(what: str, value: object) -> None:
    """Refuse an empty or overlong name, or one with control characters (the same errors)."""
    if not isinstance(value, str):
        raise TypeError(f"{what} must be a string, not {value!r}")
    if not value:
        raise ValueError(f"{what} must not be empty")
    if len(value) > MAX_NAME_LENGTH:
        raise ValueError(
            f"{what} must have at most {MAX_NAME_LENGTH} characters, "
            f"not {len(value)}: {value[:40]!r}…"
        )
    if not value.isprintable():
        raise ValueError(f"{what} must hold printable characters only: {value!r}")


def _check_range(
    what: str,
    value: float,
    *,
    above: float | None = None,
    least: float | None = None,
    most: float | None = None,
) -> None:
    if not abs(value) <= sys.float_info.max:
        raise ValueError(f"{what} must be finite, not {value!r}")
    if above is not None and value <= above:
        raise ValueError(f"{what} must be above {_shown(above)}, not {value!r}")
    if least is not None and value < least:
        raise ValueError(f"{what} must be at least {_shown(least)}, not {value!r}")
    if most is not None and value > most:
        raise ValueError(f"{what} must be at most {_shown(most)}, not {value!r}")


def _shown(limit: float) -> str:
    """Return a limit as people write it: 2592000, where `:g` makes 2.592e+06."""
    return f"{limit:.0f}" if limit == int(limit) and abs(limit) < 1e9 else f"{limit:g}"
