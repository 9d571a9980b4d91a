"""From a request's URL to its circuit.

Finding it takes the same time however many patterns there are. A glob is looked up by what
stands after its last `*`, then by what stands before its first one, both in dictionaries, for
each length that occurs; a path by its beginnings. What fits a host is remembered, for a bounded
number of hosts: they may come from strangers.
"""

from __future__ import annotations

import hashlib
import re
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from typing import Generic, NamedTuple, Protocol, TypeVar

from .._core._checks import MAX_NAME_LENGTH, check_name
from .library import redacted

T = TypeVar("T")

MAX_CACHED_HOSTS = 4_096
MAX_HOST = 255
"""No longer name exists in DNS (RFC 1035, section 2.3.4), so none is remembered."""

DEFAULT_PORTS = {"http": 80, "https": 443, "ws": 80, "wss": 443}
PATTERN = re.compile(
    r"(?:(?P<scheme>[a-z][a-z0-9+.-]*)://)?"
    r"(?P<host>\[[0-9a-f:.*]+\]|[^][\s/?#@:]+)"
    r"(?::(?P<port>\d{1,5}))?"
    r"(?P<path>/[^?#]*)?",
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


_names: OrderedDict[bytes, str] = OrderedDict()


def host_name(url: URLLike) -> str | None:
    """The default circuit of a URL: its host, with the port when that is not the scheme's
    default. None if it has no host."""
    netloc = url.netloc
    name = _names.get(netloc)
    if name is None:
        host, port = _host_and_port(url)
        if not host:
            return None
        name = fitting_name(f"{host}:{port}" if port else host)
        if len(netloc) <= MAX_HOST:
            _names[netloc] = name
            if len(_names) > MAX_CACHED_HOSTS:
                _names.popitem(last=False)
    return name


def header_name(url: URLLike, value: str | None) -> str | None:
    """A circuit for what a header says: the host's, with `#` and that value."""
    host = host_name(url)
    return host if host is None or not value else fitting_name(f"{host}#{value}")


def _host_and_port(url: URLLike) -> tuple[str, int | None]:
    """Host in lower case (the letters of IPv6 may be capitals), without the dot that ends a
    fully qualified name; and a port that is not the default."""
    host, port = url.netloc.decode("ascii", "replace").lower(), url.port
    if port is not None:
        host = host.removesuffix(f":{port}")
    return _without_dot(host), port


def _without_dot(host: str) -> str:
    return host.removesuffix(".")


def fitting_name(name: str) -> str:
    """A circuit's name of bounded length and printable characters for a text of any kind."""
    if len(name) <= MAX_NAME_LENGTH and name.isprintable():
        return name
    digest = hashlib.sha256(name.encode("utf-8", "surrogatepass")).hexdigest()[:16]
    shown = "".join(character for character in name[:200] if character.isprintable())
    return f"{shown}~{digest}"


class Routes(Generic[T]):
    """A mapping from URL patterns to what stands for circuits.

    A pattern is a host, in which `*` stands for anything, optionally with scheme, port and the
    beginning of a path: `"*.stripe.com"`, `"https://api.example.com:8443/v2/"`. A path fits by
    whole segments: `/v2` fits `/v2` and `/v2/x`, not `/v20`; `/v2/` fits what lies under it. The
    most specific pattern decides: longer paths before shorter, then more literal hosts, then
    those with a port, then those with a scheme, then what stands first. What none fits is not
    protected.

    Args:
        patterns: What to find, by pattern.
        parse: Makes the URLs of the client library, so that patterns are encoded as they are.

    Raises:
        TypeError, ValueError: A pattern is not usable.
    """

    def __init__(self, patterns: Mapping[str, T], parse: Callable[[str], URLLike]) -> None:
        self._globs: _Globs[T] = _Globs()
        self._segments = 0
        for pattern, target in patterns.items():
            place, path = _parsed(pattern, parse)
            self._globs.paths(place).setdefault(path, target)
            self._segments = max(self._segments, path.count("/"))
        self._by_host: OrderedDict[tuple[str, bytes], list[dict[str, T]]] = OrderedDict()

    def __call__(self, url: URLLike) -> T | None:
        """What fits a URL best, or None."""
        fitting = self._fitting_host(url)
        if not fitting:
            return None
        if self._segments:
            for path in self._beginnings(url.raw_path):
                for paths in fitting:
                    if path in paths:
                        return paths[path]
        return next((paths[""] for paths in fitting if "" in paths), None)

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

    def _fitting_host(self, url: URLLike) -> list[dict[str, T]]:
        key = (url.scheme, url.netloc)
        fitting = self._by_host.get(key)
        if fitting is None:
            host, port = _host_and_port(url)
            port = port or DEFAULT_PORTS.get(url.scheme)
            fitting = self._globs.fitting(url.scheme, host, port)
            if len(host) <= MAX_HOST:
                self._by_host[key] = fitting
                if len(self._by_host) > MAX_CACHED_HOSTS:
                    self._by_host.popitem(last=False)
        return fitting


class _Place(NamedTuple):
    """A pattern but for its path."""

    scheme: str | None
    host: str
    port: int | None


class _Entry(Generic[T]):
    """What there is for one place, by path."""

    __slots__ = ("_length", "_middle", "_scheme", "paths", "rank")

    def __init__(self, place: _Place, number: int) -> None:
        literals = place.host.split("*")
        self._middle = None
        if len(literals) > 2:  # otherwise head and tail are all there is to it
            self._middle = re.compile(".*".join(map(re.escape, literals)))
        self._length = sum(map(len, literals))
        self._scheme = place.scheme
        self.rank = (
            self._length,
            place.port is not None,
            place.scheme is not None,
            -number,
        )
        self.paths: dict[str, T] = {}

    def fits(self, scheme: str, host: str) -> bool:
        """Whether a scheme fits, and a host whose beginning and end do."""
        return (
            self._scheme in (None, scheme)
            and len(host) >= self._length
            and (self._middle is None or self._middle.fullmatch(host) is not None)
        )


class _Globs(Generic[T]):
    """The places of all patterns, so that those which fit a host are found without trying all."""

    def __init__(self) -> None:
        self._entries: dict[_Place, _Entry[T]] = {}
        self._exact: dict[tuple[str, int | None], list[_Entry[T]]] = {}
        self._heads: dict[str, dict[tuple[str, int | None], list[_Entry[T]]]] = {}
        self._head_lengths: dict[str, set[int]] = {}  # by tail
        self._tail_lengths: set[int] = set()

    def paths(self, place: _Place) -> dict[str, T]:
        """What there is by path, for a place."""
        entry = self._entries.get(place)
        if entry is None:
            entry = self._entries[place] = _Entry(place, len(self._entries))
            self._index(place).append(entry)
        return entry.paths

    def _index(self, place: _Place) -> list[_Entry[T]]:
        head, star, rest = place.host.partition("*")
        if not star:
            return self._exact.setdefault((place.host, place.port), [])
        tail = rest.rpartition("*")[2]
        self._tail_lengths.add(len(tail))
        self._head_lengths.setdefault(tail, set()).add(len(head))
        return self._heads.setdefault(tail, {}).setdefault((head, place.port), [])

    def fitting(self, scheme: str, host: str, port: int | None) -> list[dict[str, T]]:
        """What there is by path for each place that fits, most specific first."""
        entries = [entry for entry in self._candidates(host, port) if entry.fits(scheme, host)]
        entries.sort(key=lambda entry: entry.rank, reverse=True)
        return [entry.paths for entry in entries]

    def _candidates(self, host: str, port: int | None) -> Iterator[_Entry[T]]:
        for wanted in {port, None}:
            yield from self._exact.get((host, wanted), ())
        for length in self._tail_lengths:
            tail = host[max(0, len(host) - length) :]
            heads = self._heads.get(tail, {})
            for head in {host[:length] for length in self._head_lengths.get(tail, ())}:
                for wanted in {port, None}:
                    yield from heads.get((head, wanted), ())


def _parsed(pattern: str, parse: Callable[[str], URLLike]) -> tuple[_Place, str]:
    """A pattern's place and path."""
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
    return _Place(scheme, _without_dot(host), int(match["port"]) if match["port"] else None), path


def _no_pattern(pattern: str) -> ValueError:
    return ValueError(
        f"circuits: {redacted(pattern)!r} is no URL pattern; write a host such as '*.example.com', "
        "optionally with scheme, port and the beginning of a path"
    )


def _encoded_host(host: str, parse: Callable[[str], URLLike]) -> str:
    labels = host.split(".")
    return ".".join(
        label if label.isascii() else _host_and_port(parse(f"http://{label}"))[0]
        for label in labels
    )


def _encoded_path(path: str, parse: Callable[[str], URLLike]) -> str:
    return path and parse(f"http://host{path}").raw_path.decode("ascii")
