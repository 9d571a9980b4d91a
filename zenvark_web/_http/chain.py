"""Further upstreams, in order, each with a circuit and credentials of its own."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, cast

from .._core._checks import check_name, check_whole
from .circuit_names import by_host
from .credentials import identifies, without_secrets
from .messages import redacted

OF_ONE_HOST = frozenset({"breaker", "sni_hostname", "target"})
"""Extensions of a request that apply to its own host only."""

MOST_UPSTREAMS = 20


class Upstream:
    """One upstream of a `Chain`.

        Upstream("https://eu.example.com", headers={"Authorization": "Bearer ..."})

    A request keeps its method, path, query and body. Headers and query parameters that identify
    its sender (`Authorization`, `Cookie`, `Proxy-Authorization`, `X-Api-Key`, `Api-Key`, `?key=`
    and others whose name refers to a key, a token, a user, an organization and so on) never go
    along to another origin. `headers` takes their place.

    Args:
        url: Scheme, host and port, optionally with a path, which is put before the request's own.
        headers: Headers that replace those of the request, such as credentials.
        circuit: The circuit's name. Default: the host, with the port if it is not the default one.
        transport: Sends the requests. It is closed together with the transport that has the
            fallback. Default: the transport within that one.

    Raises:
        TypeError, ValueError: A setting is not usable.
    """

    def __init__(
        self,
        url: str,
        *,
        headers: Mapping[str, str] | None = None,
        circuit: str | None = None,
        transport: Any = None,
    ) -> None:
        self._url = checked_url(url)
        self._headers = _checked_headers({} if headers is None else headers)
        if circuit is not None:
            check_name("circuit", circuit)
        self._circuit = circuit
        self.transport: Any = checked_transport(transport)

    def __repr__(self) -> str:
        return f"Upstream({self._url!r})"  # without its headers, which are secret

    def readdressed(self, request: Any) -> Any:
        """The request to this upstream.

        Args:
            request: The request to the first one.
        """
        made = readdressed(request, self._url)
        own = request.extensions.get("breaker")
        kept = {"classify": own["classify"]} if classifies(own) else {}
        # Without a fallback: the chain goes on by itself.
        made.extensions["breaker"] = {
            "name": self._circuit or by_host(made),
            "fallback": None,
            **kept,
        }
        if not of_one_origin(request.url, made.url):
            _remove_identity(made)
        for name, value in self._headers.items():
            made.headers[name] = value
        return made


class Chain:
    """A fallback of further upstreams, of which the first one whose circuit admits the call is sent
    the request.

        Fallback(
            Chain(Upstream("https://eu.example.com"), Upstream("https://us.example.com")),
            on=("open", "failed"),
        )

    The order is that of preference. An upstream whose circuit is open is passed over without a
    call; one whose circuit recovers gets its trial calls. If a call fails and `on` says so, the
    next upstream follows. If none is left, the caller receives what the last call has led to.

    Args:
        upstreams: The further upstreams.
        most: The number of requests that are sent in all for one request, the first one included.

    Raises:
        TypeError, ValueError: A setting is not usable.
    """

    def __init__(self, *upstreams: Upstream, most: int = 3) -> None:
        for upstream in upstreams:
            if not isinstance(upstream, Upstream):
                raise TypeError(
                    f"a chain consists of Upstream('https://...') objects, not {upstream!r}"
                )
        if not 1 <= len(upstreams) <= MOST_UPSTREAMS:
            raise ValueError(f"a chain has 1 to {MOST_UPSTREAMS} upstreams, not {len(upstreams)}")
        check_whole("most", most, most=MOST_UPSTREAMS + 1)
        self.upstreams = upstreams
        self.most = most

    def __repr__(self) -> str:
        return f"Chain({', '.join(map(repr, self.upstreams))}, most={self.most})"


def readdressed(request: Any, url: str) -> Any:
    """A request to another upstream, whose URL stands before the request's own path. Its extensions
    are without those that apply to the first one only.

    Args:
        request: The request.
        url: Scheme, host, port and perhaps a path.
    """
    base = type(request.url)(url)
    target = base.copy_with(raw_path=base.raw_path.rstrip(b"/") + request.url.raw_path)
    extensions = {
        name: value for name, value in request.extensions.items() if name not in OF_ONE_HOST
    }
    headers = request.headers.copy()
    headers["Host"] = target.netloc.decode("ascii")  # the client has set it for the first upstream
    return type(request)(
        request.method, target, headers=headers, stream=request.stream, extensions=extensions
    )


def classifies(own: object) -> bool:
    """Whether the settings of a request contain a classifier."""
    return isinstance(own, Mapping) and "classify" in own


def checked_url(url: object) -> str:
    """A URL of an upstream.

    Raises:
        TypeError, ValueError: It is none.
    """
    if not isinstance(url, str):
        raise TypeError(f"url must be a string, not {url!r}")
    if not re.fullmatch(r"https?://[^\s/?#@]+(/[^\s?#]*)?", url, re.IGNORECASE):
        raise ValueError(f"url must be one such as 'https://eu.example.com', not {redacted(url)!r}")
    return url


def checked_transport(transport: object) -> object:
    """A transport of either library, or None.

    Raises:
        TypeError: It is neither.
    """
    known = hasattr(transport, "handle_async_request") or hasattr(transport, "handle_request")
    if isinstance(transport, type) or not (transport is None or known):
        raise TypeError(f"transport must be a transport, not {transport!r}")
    return transport


def _checked_headers(headers: object) -> dict[str, str]:
    if not isinstance(headers, Mapping):
        raise TypeError(f"headers must be a mapping of names to values, not {type(headers)!r}")
    given = cast(Mapping[object, object], headers)
    for name, value in given.items():
        if not (isinstance(name, str) and isinstance(value, str)):
            raise TypeError(f"headers must map names to strings; {name!r} does not")
    return {str(name): str(value) for name, value in given.items()}


def of_one_origin(url: Any, other: Any) -> bool:
    """Whether two URLs have the same scheme, host and port."""
    return bool(url.scheme == other.scheme and url.netloc == other.netloc)


def _remove_identity(request: Any) -> None:
    for name in {name for name in request.headers if identifies(name)}:
        del request.headers[name]
    path, mark, query = request.url.raw_path.partition(b"?")
    kept = without_secrets(query)
    request.url = request.url.copy_with(raw_path=path + (mark if kept else b"") + kept)
