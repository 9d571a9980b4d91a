"""Causes of transport errors, found in their chains."""

from __future__ import annotations

import errno
import socket
import ssl
from collections.abc import Iterator
from typing import Any, cast

LONGEST_CHAIN = 50
"""How many errors are inspected: chains may be endless, and groups wide."""

LOCAL_LIMITS = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.EADDRNOTAVAIL})
"""Limits of this process: files, buffers, ports."""

UNREACHABLE = frozenset({errno.EHOSTUNREACH, errno.ENETUNREACH, errno.EHOSTDOWN, errno.ENETDOWN})

NO_ERROR = 0
"""The code of a graceful shutdown (RFC 9113, section 7)."""


def causes(error: BaseException) -> Iterator[BaseException]:
    """An error, and the errors that it was raised from or contains, nearest first.

    `__context__` is not followed: it may be an error of the caller. httpcore cuts the chain
    (`raise ... from None`), but its errors have the original one as their argument.
    """
    waiting: list[BaseException] = [error]
    seen = 0
    while waiting and seen < LONGEST_CHAIN:
        # Breadth first, so that the nearest cause comes first.
        error = waiting.pop(0)
        seen += 1
        yield error
        if isinstance(error, BaseExceptionGroup):
            held: tuple[BaseException, ...] = cast(Any, error).exceptions
            waiting += held
        elif error.__cause__ is not None:
            waiting.append(error.__cause__)
        elif error.args and isinstance(error.args[0], BaseException):
            waiting.append(error.args[0])
        elif isinstance(reason := getattr(error, "reason", None), BaseException):  # urllib3's
            waiting.append(reason)


def label_of(error: BaseException) -> str:
    """The name of a failure: the error's class, and the reason if connecting failed."""
    name = type(error).__name__
    if any(cls.__name__ == "ConnectError" for cls in type(error).__mro__):
        for cause in causes(error):
            if why := _why(cause):
                return f"{name} ({why})"
    return name


def _why(cause: BaseException) -> str:
    if isinstance(cause, socket.gaierror):
        return "name resolution"
    if isinstance(cause, ConnectionRefusedError):
        return "refused"
    if isinstance(cause, ssl.SSLCertVerificationError):
        return "TLS certificate"
    if isinstance(cause, ssl.SSLError):
        return "TLS"
    if isinstance(cause, ConnectionError):
        return "closed"
    return "unreachable" if _errno(cause) in UNREACHABLE else ""


def is_local_limit(error: BaseException) -> bool:
    """Whether the call failed by a limit of this process."""
    return any(_errno(cause) in LOCAL_LIMITS for cause in causes(error))


def goaway_in(error: BaseException) -> Any:
    """The h2 event of the HTTP/2 GOAWAY that ended a call, or None. All calls of a connection have
    the same event."""
    for cause in causes(error):
        event = cause.args[0] if cause.args else None
        if type(event).__name__ == "ConnectionTerminated":
            return event
    return None


def end_of_connection(error: BaseException) -> object:
    """The event or error that ended a connection with all its calls, or None. A timeout is each
    call's own, though it ends the connection as well."""
    goaway = goaway_in(error)
    if goaway is not None:
        return goaway
    cause = error.__cause__
    if cause is None or not type(cause).__module__.startswith("httpcore"):
        return None
    return None if any("Timeout" in cls.__name__ for cls in type(cause).__mro__) else cause


def is_graceful(goaway: Any) -> bool:
    """Whether a server closed a connection without having processed the open requests, so that all
    can be sent again (RFC 9113, section 6.8)."""
    return goaway.error_code == NO_ERROR and not goaway.last_stream_id


def _errno(cause: BaseException) -> int | None:
    return cause.errno if isinstance(cause, OSError) else None
