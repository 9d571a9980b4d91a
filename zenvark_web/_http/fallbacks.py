"""Responses in place of the 503 of an open circuit."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any, TypeAlias, cast

from .._core._checks import check_call
from .._core.patterns import NamePatterns
from ..exceptions import CircuitOpenError
from .answer import Answer, Payload
from .last_good import LastGoodResponse
from .messages import redacted
from .recorder import BodyRecorder

FallbackFunction: TypeAlias = Callable[[Any, Any], Any]
"""A function of the request and the error, sync or async. It returns a response, or None for the
default."""

OF_ONE_HOST = frozenset({"breaker", "sni_hostname", "target"})
"""Extensions of a request that apply to its own host only."""

OF_ANY_CIRCUIT = frozenset({"when_open"})
"""Settings of a request, or of its route, that apply to another circuit as well."""


class FixedResponse:
    """A fallback that always returns the same response.

        BreakerTransport(coordinator, fallback=FixedResponse({"items": []}))

    Args:
        content: The body: bytes, a string as text, a dict or list as JSON.
        status: The status.
        headers: More headers.

    Raises:
        TypeError, ValueError: A setting is not usable.
    """

    def __init__(
        self, content: Payload = b"", *, status: int = 200, headers: Mapping[str, str] | None = None
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
        """The response."""
        return self._answer


class OtherUpstream:
    """A fallback that sends the request to another upstream.

        BreakerTransport(coordinator, fallback=OtherUpstream("https://eu.api.example.com"))

    The request keeps its method, path, query, headers and body, and has the circuit of its new
    URL. If that is open too, `when_open` applies: of the request, of its route, or else of the new
    URL.

    The request keeps its credentials: name only an upstream that may receive them.

    Args:
        url: Scheme, host and port of the other upstream, optionally with a path, which is put
            before the request's own.
        transport: Sends the request, without a breaker unless it is a `BreakerTransport` itself.
            It is closed together with the transport that has this fallback. Default: that
            transport.

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

    def readdressed(self, request: Any, overrides: Mapping[str, Any]) -> Any:
        """The request to the other upstream.

        Args:
            request: The request to the first one.
            overrides: The settings of the request and of its route.
        """
        url = type(request.url)(self._url)
        path = url.raw_path.rstrip(b"/") + request.url.raw_path
        url = url.copy_with(raw_path=path)
        extensions = {
            name: value for name, value in request.extensions.items() if name not in OF_ONE_HOST
        }
        kept = {name: value for name, value in overrides.items() if name in OF_ANY_CIRCUIT}
        own = request.extensions.get("breaker")
        if isinstance(own, Mapping) and "classify" in own:
            kept["classify"] = own["classify"]
        # Without a fallback: two upstreams could send a request to each other endlessly.
        extensions["breaker"] = {**kept, "fallback": None}
        headers = request.headers.copy()
        # The client has set it for the first upstream.
        headers["Host"] = url.netloc.decode("ascii")
        return type(request)(
            request.method, url, headers=headers, stream=request.stream, extensions=extensions
        )


AnyFallback: TypeAlias = FallbackFunction | OtherUpstream


class Fallbacks:
    """The fallbacks of a transport, by circuit.

    Args:
        fallback: One for all circuits, or by circuit name, as `NamePatterns` takes them.

    Attributes:
        record: Whether any of them records responses.
        transports: Those of other upstreams.

    Raises:
        TypeError, ValueError: It is not usable.
    """

    __slots__ = ("_by_name", "record", "transports")

    def __init__(self, fallback: Any) -> None:
        by_name: Mapping[str, AnyFallback] = {}
        if isinstance(fallback, Mapping):
            by_name = cast(Mapping[str, AnyFallback], fallback)
            for name, each in by_name.items():
                _check(f"fallback[{name!r}]", each)
        elif fallback is not None:
            _check("fallback", fallback)
            by_name = {"*": fallback}
        self._by_name = NamePatterns("fallback", by_name)
        self.record = any(isinstance(each, LastGoodResponse) for each in by_name.values())
        others = [each.transport for each in by_name.values() if isinstance(each, OtherUpstream)]
        self.transports = [transport for transport in others if transport is not None]

    def of(self, circuit: str) -> AnyFallback | None:
        """The fallback of a circuit, or None."""
        return self._by_name.find(circuit)

    def recorder(self, circuit: str, request: Any, response: Any) -> BodyRecorder | None:
        """The recorder of the fallback of a circuit, if it has to record a response."""
        fallback = self.of(circuit)
        if isinstance(fallback, LastGoodResponse):
            return fallback.recorder(circuit, request, response)
        return None


def _check(what: str, fallback: object) -> None:
    fits = callable(fallback) or isinstance(fallback, OtherUpstream)
    if isinstance(fallback, type) or not fits:
        raise TypeError(
            f"{what} must be callable, such as FixedResponse({{}}) or a function of request and "
            f"error, not {fallback!r}"
        )
    if not isinstance(fallback, OtherUpstream):
        check_call(what, fallback, "a request and the CircuitOpenError", None, None)
