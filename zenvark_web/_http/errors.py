"""What an error says besides its class: it stands in its chain of causes."""

from __future__ import annotations

import errno
import socket
import ssl
from collections.abc import Iterator
from typing import Any, cast

LONGEST_CHAIN = 50
"""Errors that are looked at: chains may be endless, and groups wide."""

LOCAL_LIMITS = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.EADDRNOTAVAIL})
"""What a process runs out of itself: files, buffers, ports."""

UNREACHABLE = frozenset({errno.EHOSTUNREACH, errno.ENETUNREACH, errno.EHOSTDOWN, errno.ENETDOWN})

NO_ERROR = 0
"""The code of a connection that a server closes in good order (RFC 9113, section 7)."""


def causes(error: BaseException) -> Iterator[BaseException]:
    """An error, and those that it was raised from or holds, the nearest first.

    What was merely being handled meanwhile (`__context__`) may be the caller's. httpcore cuts the
    chain (`raise ... from None`), but its errors have what they stand for as their argument.
    """
    waiting: list[BaseException] = [error]
    seen = 0
    while waiting and seen < LONGEST_CHAIN:
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


def label_of(error: BaseException) -> str:
    """What a failure is called: the error's class, and why, if it failed to connect."""
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
    """Whether the call failed because this process ran out of something."""
    return any(_errno(cause) in LOCAL_LIMITS for cause in causes(error))


def goodbye_in(error: BaseException) -> Any:
    """The event of an HTTP/2 GOAWAY that ended a call, as h2 tells it, or None. All calls of a
    connection get the same one."""
    for cause in causes(error):
        event = cause.args[0] if cause.args else None
        if type(event).__name__ == "ConnectionTerminated":
            return event
    return None


def end_of_connection(error: BaseException) -> object:
    """What ended a connection and with it all calls on it, an HTTP/2 event or an error of
    httpcore's, or None. A timeout is each call's own, though it ends the connection as well."""
    goodbye = goodbye_in(error)
    if goodbye is not None:
        return goodbye
    cause = error.__cause__
    if cause is None or not type(cause).__module__.startswith("httpcore"):
        return None
    return None if any("Timeout" in cls.__name__ for cls in type(cause).__mro__) else cause


def is_in_good_order(goodbye: Any) -> bool:
    """Whether a server that closed a connection says that it has processed nothing that is
    without an answer, so that all may be sent again (RFC 9113, section 6.8)."""
    return goodbye.error_code == NO_ERROR and not goodbye.last_stream_id


def _errno(cause: BaseException) -> int | None:
    return cause.errno if isinstance(cause, OSError) else None
