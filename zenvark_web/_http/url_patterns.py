"""From a request's URL to its circuit, by patterns.

A host that comes for the first time is tried with all patterns, in order of precedence. What
matches it is remembered, for a bounded number of hosts: they may come from strangers.
"""

from __future__ import annotations

import re
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from typing import Generic, NamedTuple, TypeVar

from .._core._checks import check_name
from .circuit_names import MAX_CACHED_HOSTS, MAX_HOST, host_and_port
from .messages import redacted
from .protocols import URLLike

T = TypeVar("T")

DEFAULT_PORTS = {"http": 80, "https": 443, "ws": 80, "wss": 443}
PATTERN = re.compile(
    r"(?:(?P<scheme>[a-z][a-z0-9+.-]*)://)?"
    r"(?P<host>\[[0-9a-f:.*]+\]|[^][\s/?#@:]+)"
    r"(?::(?P<port>\d{1,5}))?"
    r"(?P<path>/[^?#]*)?",
    re.IGNORECASE,
)


class _Origin(NamedTuple):
    """A pattern without its path."""

    scheme: str | None
    host: str
    port: int | None

    @property
    def specificity(self) -> tuple[int, bool, bool]:
        return len(self.host.replace("*", "")), self.port is not None, self.scheme is not None

    def matching(self) -> Callable[[str, str, int | None], bool]:
        """A function that returns whether a scheme, host and port match."""
        host = re.compile(".*".join(map(re.escape, re.split(r"\*+", self.host)))).fullmatch
        return lambda scheme, name, port: (
            self.scheme in (None, scheme) and self.port in (None, port) and host(name) is not None
        )


class UrlPatterns(Generic[T]):
    """A mapping from URL patterns to circuits.

    A pattern is a host, in which `*` matches any characters, optionally with a scheme, a port and
    a path prefix: `"*.stripe.com"`, `"https://api.example.com:8443/v2/"`. A path prefix matches
    whole segments: `/v2` matches `/v2` and `/v2/x`, not `/v20`; `/v2/` matches the paths below it.
    The most specific pattern decides: longer paths before shorter, then more literal hosts, then
    those with a port, then those with a scheme, then the one that stands first. A URL that matches
    none is not protected.

    Args:
        patterns: The mapping.
        parse: Makes the URLs of the client library, so that patterns are encoded as they are.

    Raises:
        TypeError, ValueError: A pattern is not usable.
    """

    def __init__(self, patterns: Mapping[str, T], parse: Callable[[str], URLLike]) -> None:
        by_path: dict[_Origin, dict[str, T]] = {}
        self._segments = 0
        for pattern, target in patterns.items():
            origin, path = _parsed(pattern, parse)
            by_path.setdefault(origin, {}).setdefault(path, target)
            self._segments = max(self._segments, path.count("/"))
        # Sorting is stable: of equally specific patterns, the one that stands first decides.
        ordered = sorted(by_path, key=lambda origin: origin.specificity, reverse=True)
        self._origins = [(origin.matching(), by_path[origin]) for origin in ordered]
        self._by_host: OrderedDict[tuple[str, bytes], list[dict[str, T]]] = OrderedDict()

    def __call__(self, url: URLLike) -> T | None:
        """The circuit of a URL, or None."""
        matching = self._matching_host(url)
        if not matching:
            return None
        if self._segments:
            for path in self._beginnings(url.raw_path):
                for by_path in matching:
                    if path in by_path:
                        return by_path[path]
        return next((by_path[""] for by_path in matching if "" in by_path), None)

    def _beginnings(self, raw_path: bytes) -> Iterator[str]:
        """The beginnings of a path that end with a segment, longest first, as far as patterns
        go."""
        path = raw_path.partition(b"?")[0].decode("ascii", "replace")
        ends = [match.start() for match in re.finditer("/", path)][: self._segments + 1]
        if len(ends) <= self._segments:
            yield path
        for end in reversed(ends):
            if end + 1 < len(path):
                yield path[: end + 1]
            if end:
                yield path[:end]

    def _matching_host(self, url: URLLike) -> list[dict[str, T]]:
        key = (url.scheme, url.netloc)
        matching = self._by_host.get(key)
        if matching is None:
            host, port = host_and_port(url)
            # URLs omit the default port, which a pattern may state.
            port = port or DEFAULT_PORTS.get(url.scheme)
            matching = [found for fits, found in self._origins if fits(url.scheme, host, port)]
            if len(host) <= MAX_HOST:
                self._by_host[key] = matching
                if len(self._by_host) > MAX_CACHED_HOSTS:
                    self._by_host.popitem(last=False)
        return matching


def _parsed(pattern: str, parse: Callable[[str], URLLike]) -> tuple[_Origin, str]:
    """A pattern's origin and path."""
    check_name("a pattern in circuits", pattern)
    match = PATTERN.fullmatch(pattern)
    if match is None or not 1 <= int(match["port"] or 1) <= 65535:
        raise _no_pattern(pattern)
    try:
        host = _encoded_host(match["host"].lower(), parse)
        path = _encoded_path(match["path"] or "", parse)
    except Exception as error:  # each library has its own
        raise _no_pattern(pattern) from error
    scheme = match["scheme"] and match["scheme"].lower()
    port = int(match["port"]) if match["port"] else None
    return _Origin(scheme, host.removesuffix("."), port), path


def _no_pattern(pattern: str) -> ValueError:
    return ValueError(
        f"circuits: {redacted(pattern)!r} is no URL pattern; write a host such as '*.example.com', "
        "optionally with scheme, port and the beginning of a path"
    )


def _encoded_host(host: str, parse: Callable[[str], URLLike]) -> str:
    labels = host.split(".")
    return ".".join(
        label if label.isascii() else host_and_port(parse(f"http://{label}"))[0] for label in labels
    )


def _encoded_path(path: str, parse: Callable[[str], URLLike]) -> str:
    return path and parse(f"http://host{path}").raw_path.decode("ascii")
