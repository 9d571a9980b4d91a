"""From a request's URL to its circuit."""

from __future__ import annotations

import hashlib
import re
from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import NamedTuple, Protocol

from .._core._checks import MAX_NAME_LENGTH, check_name

MAX_CACHED_HOSTS = 4_096
DEFAULT_PORTS = {"http": 80, "https": 443}
PATTERN = re.compile(
    r"(?:(?P<scheme>[a-z][a-z0-9+.-]*)://)?"
    r"(?P<host>\[[0-9a-f:.*]+\]|[^][\s/?#@:]+)"
    r"(?::(?P<port>\d{1,5}))?"
    r"(?P<path>/[^#]*)?",
    re.IGNORECASE,
)


class URLLike(Protocol):
    """What routing needs of a URL."""

    @property
    def scheme(self) -> str:
        """Lower case."""
        ...

    @property
    def port(self) -> int | None:
        """None for the scheme's default."""
        ...

    @property
    def netloc(self) -> bytes:
        """Host and port, IDNA-encoded, without user info and default port."""
        ...

    @property
    def raw_path(self) -> bytes:
        """Path and query."""
        ...


def host_name(url: URLLike) -> str | None:
    """The default circuit of a URL: its host, with the port when that is not the scheme's
    default. None if it has no host."""
    name = _netloc(url)
    return _fitting(name) if name else None


def _netloc(url: URLLike) -> str:
    return url.netloc.decode("ascii", "replace").lower()  # the letters of IPv6 may be capitals


def _fitting(name: str) -> str:
    """A name of bounded length for a host of any length."""
    if len(name) <= MAX_NAME_LENGTH:
        return name
    return f"{name[:200]}~{hashlib.sha256(name.encode()).hexdigest()[:16]}"


class Routes:
    """A mapping from URL patterns to circuits.

    A pattern is a host, in which `*` stands for anything, optionally with scheme, port and the
    beginning of a path: `"*.stripe.com"`, `"https://api.example.com:8443/v2/"`. The most
    specific one decides: longer paths before shorter, then more literal hosts. What none fits
    is not protected.

    Args:
        patterns: Circuit names by pattern.
        parse: Makes the URLs of the client library, so that patterns are encoded as they are.

    Raises:
        TypeError, ValueError: A pattern or a name is not usable.
    """

    def __init__(self, patterns: Mapping[str, str], parse: Callable[[str], URLLike]) -> None:
        routes = [_route(pattern, name, parse) for pattern, name in patterns.items()]
        self._routes = sorted(routes, key=_specificity, reverse=True)
        self._by_host: OrderedDict[tuple[str, bytes], list[_Route]] = OrderedDict()

    def __call__(self, url: URLLike) -> str | None:
        """The circuit of a URL, or None."""
        fitting = self._fitting_host(url)
        if not fitting:
            return None
        path = url.raw_path.decode("ascii", "replace")
        return next((route.name for route in fitting if path.startswith(route.path)), None)

    def _fitting_host(self, url: URLLike) -> list[_Route]:
        key = (url.scheme, url.netloc)
        fitting = self._by_host.get(key)
        if fitting is None:
            fitting = [route for route in self._routes if route.fits(url)]
            self._by_host[key] = fitting
            if len(self._by_host) > MAX_CACHED_HOSTS:
                self._by_host.popitem(last=False)
        return fitting


class _Route(NamedTuple):
    name: str
    scheme: str | None
    host: re.Pattern[str]
    literals: int
    port: int | None
    path: str

    def fits(self, url: URLLike) -> bool:
        """Whether scheme, host and port fit."""
        if self.scheme is not None and self.scheme != url.scheme:
            return False
        default = DEFAULT_PORTS.get(url.scheme)
        if self.port is not None and self.port != (url.port or default):
            return False
        host = _netloc(url)
        if url.port is not None:
            host = host.removesuffix(f":{url.port}")
        return self.host.fullmatch(host) is not None


def _specificity(route: _Route) -> tuple[int, int, bool, bool]:
    return len(route.path), route.literals, route.port is not None, route.scheme is not None


def _route(pattern: str, name: str, parse: Callable[[str], URLLike]) -> _Route:
    check_name("a pattern in circuits", pattern)
    check_name(f"circuits[{pattern!r}]", name)
    match = PATTERN.fullmatch(pattern)
    if match is None or not 1 <= int(match["port"] or 1) <= 65535:
        raise _no_pattern(pattern)
    try:
        host = _encoded_host(match["host"].lower(), parse)
        path = _encoded_path(match["path"] or "", parse)
    except Exception as error:  # each library has its own
        raise _no_pattern(pattern) from error
    return _Route(
        name=name,
        scheme=match["scheme"] and match["scheme"].lower(),
        host=re.compile(".*".join(re.escape(literal) for literal in host.split("*"))),
        literals=len(host.replace("*", "")),
        port=int(match["port"]) if match["port"] else None,
        path=path,
    )


def _no_pattern(pattern: str) -> ValueError:
    return ValueError(
        f"circuits: {pattern!r} is no URL pattern; write a host such as '*.example.com', "
        "optionally with scheme, port and the beginning of a path"
    )


def _encoded_host(host: str, parse: Callable[[str], URLLike]) -> str:
    labels = host.split(".")
    return ".".join(
        label if label.isascii() else _netloc(parse(f"http://{label}")) for label in labels
    )


def _encoded_path(path: str, parse: Callable[[str], URLLike]) -> str:
    return path and parse(f"http://host{path}").raw_path.decode("ascii")
