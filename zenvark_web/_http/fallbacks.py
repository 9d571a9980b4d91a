"""What a caller gets while a circuit is open, in place of the 503."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any, TypeAlias, cast

from .._core._checks import check_call
from .._core.patterns import NamePatterns
from ..exceptions import CircuitOpenError
from .answer import Answer, Body
from .call import Call
from .last_good import LastGoodResponse
from .library import redacted

Make: TypeAlias = Callable[[Any, Any], Any]
"""A function of the request and the error, sync or async. What it returns is an answer, or None
if it has none."""

OF_ONE_HOST = frozenset({"breaker", "sni_hostname", "target"})
"""Extensions of a request that hold for the host it was made for only."""

OF_ANY_CIRCUIT = frozenset({"when_open"})
"""What a request, or its route, says of itself that holds for another circuit, too."""


class FixedResponse:
    """A fallback that always answers the same.

        BreakerTransport(coordinator, fallback=FixedResponse({"items": []}))

    Args:
        content: The body: bytes as they are, a string as text, a dict or list as JSON.
        status: The status.
        headers: More headers.

    Raises:
        TypeError, ValueError: A setting is not usable.
    """

    def __init__(
        self, content: Body = b"", *, status: int = 200, headers: Mapping[str, str] | None = None
    ) -> None:
        if not isinstance(content, bytes | str | dict | list):
            raise TypeError(f"content must be bytes, a string, a dict or a list, not {content!r}")
        if isinstance(status, bool) or not isinstance(status, int):
            raise TypeError(f"status must be a whole number, not {status!r}")
        if not 200 <= status <= 599:
            raise ValueError(f"status must be from 200 to 599, not {status!r}")
        self._answer = Answer(content, status, dict(headers or {}))

    def __repr__(self) -> str:
        return f"FixedResponse(status={self._answer.status})"

    def __call__(self, request: object, error: CircuitOpenError) -> Answer:
        """The answer."""
        return self._answer


class OtherUpstream:
    """A fallback that sends the request to another upstream.

        BreakerTransport(coordinator, fallback=OtherUpstream("https://eu.api.example.com"))

    The request goes with its method, path, query, headers and body. Its circuit is that of its
    new URL; if that is open too, the caller gets what `when_open` says: the request's own, its
    route's, or else that of the new URL.

    Credentials go along: name only an upstream that may see them.

    Args:
        url: Scheme, host and port of the other upstream, and perhaps the beginning of a path,
            which goes before the request's own.
        transport: Sends it, unguarded unless it is a `BreakerTransport` itself. It is closed
            together with the transport whose fallback this is. Default: that transport.

    Raises:
        TypeError, ValueError: A setting is not usable.
    """

    def __init__(self, url: str, transport: Any = None) -> None:
        if not isinstance(url, str):
            raise TypeError(f"url must be a string, not {url!r}")
        if not re.fullmatch(r"https?://[^\s/?#@]+(/[^\s?#]*)?", url, re.IGNORECASE):
            raise ValueError(
                f"url must be one such as 'https://eu.example.com', not {redacted(url)!r}"
            )
        if isinstance(transport, type) or not (
            transport is None
            or hasattr(transport, "handle_async_request")
            or hasattr(transport, "handle_request")
        ):
            raise TypeError(f"transport must be a transport, not {transport!r}")
        self._url = url
        self.transport: Any = transport

    def __repr__(self) -> str:
        return f"OtherUpstream({self._url!r})"

    def readdressed(self, request: Any, told: Mapping[str, Any]) -> Any:
        """The request, as it is sent to the other upstream.

        Args:
            request: As it was made for the first one.
            told: What the request, or its route, says itself of how it is to be treated.
        """
        url = type(request.url)(self._url)
        path = url.raw_path.rstrip(b"/") + request.url.raw_path
        url = url.copy_with(raw_path=path)
        extensions = {
            name: value for name, value in request.extensions.items() if name not in OF_ONE_HOST
        }
        kept = {name: value for name, value in told.items() if name in OF_ANY_CIRCUIT}
        own = request.extensions.get("breaker")
        if isinstance(own, Mapping) and "classify" in own:
            kept["classify"] = own["classify"]
        extensions["breaker"] = {**kept, "fallback": None}
        headers = request.headers.copy()
        headers["Host"] = url.netloc.decode("ascii")
        return type(request)(
            request.method, url, headers=headers, stream=request.stream, extensions=extensions
        )


Fallback: TypeAlias = Make | OtherUpstream


class Fallbacks:
    """Which circuit has which fallback.

    Args:
        fallback: One for all circuits, or by circuit name, as `NamePatterns` takes them.

    Attributes:
        keep: Whether any of them keeps responses that pass.
        transports: Those of other upstreams.

    Raises:
        TypeError, ValueError: It is not usable.
    """

    __slots__ = ("_by_name", "keep", "transports")

    def __init__(self, fallback: Any) -> None:
        by_name: Mapping[str, Fallback] = {}
        if isinstance(fallback, Mapping):
            by_name = cast(Mapping[str, Fallback], fallback)
            for name, each in by_name.items():
                _check(f"fallback[{name!r}]", each)
        elif fallback is not None:
            _check("fallback", fallback)
            by_name = {"*": fallback}
        self._by_name = NamePatterns("fallback", by_name)
        self.keep = any(isinstance(each, LastGoodResponse) for each in by_name.values())
        others = [each.transport for each in by_name.values() if isinstance(each, OtherUpstream)]
        self.transports = [transport for transport in others if transport is not None]

    def of(self, circuit: str) -> Fallback | None:
        """The fallback of a circuit, if it has one."""
        return self._by_name.find(circuit)

    def answered(self, circuit: str, request: Any, response: Any, call: Call) -> None:
        """Let a circuit's fallback keep what comes, if it wants to."""
        fallback = self.of(circuit)
        if call.good and isinstance(fallback, LastGoodResponse):
            call.keep = fallback.keep(circuit, request, response)


def _check(what: str, fallback: object) -> None:
    fits = callable(fallback) or isinstance(fallback, OtherUpstream)
    if isinstance(fallback, type) or not fits:
        raise TypeError(
            f"{what} must be callable, such as FixedResponse({{}}) or a function of request and "
            f"error, not {fallback!r}"
        )
    if not isinstance(fallback, OtherUpstream):
        check_call(what, fallback, "a request and the CircuitOpenError", None, None)
