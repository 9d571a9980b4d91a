"""The base of watched bodies."""

from __future__ import annotations

from typing import Any

from .call import HttpCall


class WatchedStream:
    """A stream that reports to its call. It has the other attributes of the wrapped stream as well.

    Args:
        stream: The wrapped stream.
        call: The call.
    """

    def __init__(self, stream: Any, call: HttpCall) -> None:
        self._stream = stream
        self._call = call

    def __repr__(self) -> str:
        return f"<watched {self._stream!r}>"

    def __getattr__(self, name: str) -> Any:
        if name == "_stream":  # a copy that is under way has no attributes yet
            raise AttributeError(name)
        return getattr(self._stream, name)
