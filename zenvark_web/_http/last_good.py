"""The last good response, for the time when there is no better one."""

from __future__ import annotations

import re
import time
from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass
from threading import Lock
from typing import Any

from .._core._checks import check_number, check_whole
from ..exceptions import CircuitOpenError
from .answer import Answer
from .call import Keep

# What a cache that serves many must not keep, or must not serve when it is stale (RFC 9111,
# sections 3 and 4.2.4).
FORBIDDEN = frozenset(
    {"no-store", "no-cache", "private", "must-revalidate", "proxy-revalidate", "s-maxage"}
)
PERSONAL = ("authorization", "cookie", "range")
PER_CONNECTION = frozenset(
    {
        "connection",
        "content-length",
        "keep-alive",
        "proxy-authenticate",
        "proxy-connection",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    }
)


@dataclass(frozen=True, slots=True)
class _Stored:
    vary: dict[str, str | None]
    headers: list[tuple[str, str]]
    body: bytes
    age: float
    at: float
    fresh_for: int | None


class LastGoodResponse:
    """A fallback that answers with the last good response to the same request.

        BreakerTransport(coordinator, fallback=LastGoodResponse())

    It keeps complete responses with status 200 to GET requests, as they pass: nothing waits for
    it, and a body that grows too large is let go. It never keeps what is not for everyone
    (requests with `Authorization` or `Cookie`, responses with `Set-Cookie`) or what HTTP forbids
    to keep or to serve stale (`Cache-Control` with `no-store`, `private`, `no-cache`,
    `must-revalidate`, `proxy-revalidate` or `s-maxage`; RFC 9111), nor answers to requests for a
    range. `Vary` is respected.

    Its answers carry `Age` (RFC 9111, section 5.1) and `Cache-Status` (RFC 9211), where a
    negative `ttl` says how stale they are. (`Warning: 110` is obsolete, RFC 9111, section 5.5.)
    Without a good response, the caller gets what `when_open` says.

    Args:
        max_entries: How many responses to keep; the one not used for longest goes first.
        max_bytes: How many bytes of bodies to keep in sum.
        max_body: How many bytes a body may have.
        max_age: Seconds after which a response is too old to serve.

    Raises:
        TypeError, ValueError: A setting is not usable.
    """

    def __init__(
        self,
        *,
        max_entries: int = 1_000,
        max_bytes: int = 16_000_000,
        max_body: int = 1_000_000,
        max_age: float = 86_400.0,
    ) -> None:
        check_whole("max_entries", max_entries)
        check_whole("max_bytes", max_bytes)
        check_whole("max_body", max_body)
        check_number("max_age", max_age, above=0, unit="seconds")
        self._max_entries = max_entries
        self._max_bytes = max_bytes
        self._max_body = min(max_body, max_bytes)
        self._max_age = max_age
        self._stored: OrderedDict[str, _Stored] = OrderedDict()
        self._bytes = 0
        self._lock = Lock()  # clients may run in several threads

    def __repr__(self) -> str:
        return f"<LastGoodResponse entries={len(self._stored)} bytes={self._bytes}>"

    def __call__(self, request: Any, error: CircuitOpenError) -> Answer | None:
        """The last good response, or None."""
        if not _may_keep(request):
            return None
        key, now = str(request.url), self.now()
        with self._lock:
            stored = self._stored.get(key)
            if stored is None or _varying(stored.vary, request) != stored.vary:
                return None
            age = stored.age + now - stored.at
            if age > self._max_age:
                self._drop(key)
                return None
            self._stored.move_to_end(key)
        return Answer(stored.body, 200, [*stored.headers, *_notes(stored, int(age))])

    def keep(self, request: Any, response: Any) -> Keep | None:
        """What is to be told a good response's body as it passes, if it may be kept."""
        if response.status_code != 200 or not _may_keep(request) or not _may_serve(response):
            return None
        names = [name.strip() for name in response.headers.get("vary", "").lower().split(",")]
        vary = _varying(filter(None, names), request)
        if response.is_closed:  # it was never a stream, and is decoded already
            keep = _Keep(self, request, response, vary, decoded=True)
            keep.add(response.content)
            keep.complete()
            return None
        return _Keep(self, request, response, vary, decoded=False)

    def now(self) -> float:
        """Monotonic seconds."""
        return time.monotonic()

    @property
    def max_body(self) -> int:
        """How many bytes a body may have."""
        return self._max_body

    def store(self, key: str, stored: _Stored) -> None:
        """Keep a response."""
        with self._lock:
            self._drop(key)
            self._stored[key] = stored
            self._bytes += len(stored.body)
            while self._bytes > self._max_bytes or len(self._stored) > self._max_entries:
                self._drop(next(iter(self._stored)))

    def _drop(self, key: str) -> None:
        stored = self._stored.pop(key, None)
        if stored is not None:
            self._bytes -= len(stored.body)


class _Keep(Keep):
    """Collects one body, as long as it is not too large."""

    __slots__ = ("_chunks", "_decoded", "_key", "_response", "_room", "_store", "_vary")

    def __init__(
        self,
        store: LastGoodResponse,
        request: Any,
        response: Any,
        vary: dict[str, str | None],
        *,
        decoded: bool,
    ) -> None:
        self._store = store
        self._key = str(request.url)
        self._response = response.headers.multi_items()
        self._vary = vary
        self._decoded = decoded
        self._room = store.max_body
        self._chunks: list[bytes] = []

    def add(self, chunk: bytes) -> None:
        self._room -= len(chunk)
        if self._room >= 0:
            self._chunks.append(chunk)
        else:
            self._chunks.clear()

    def complete(self) -> None:
        if self._room < 0:
            return
        left_out = PER_CONNECTION | {"age"}
        if self._decoded:
            left_out |= {"content-encoding"}
        headers = {name.lower(): value for name, value in self._response}
        self._store.store(
            self._key,
            _Stored(
                vary=self._vary,
                headers=[
                    (name, value) for name, value in self._response if name.lower() not in left_out
                ],
                body=b"".join(self._chunks),
                age=_number(headers.get("age")) or 0,
                at=self._store.now(),
                fresh_for=_number(_directives(headers.get("cache-control", "")).get("max-age")),
            ),
        )


def _may_keep(request: Any) -> bool:
    headers = request.headers
    return (
        request.method == "GET"
        and not request.url.userinfo
        and not any(name in headers for name in PERSONAL)
        and "no-store" not in _directives(headers.get("cache-control", ""))
    )


def _may_serve(response: Any) -> bool:
    headers = response.headers
    return (
        "set-cookie" not in headers
        and "*" not in headers.get("vary", "")
        and not FORBIDDEN & _directives(headers.get("cache-control", "")).keys()
    )


def _varying(names: Iterable[str], request: Any) -> dict[str, str | None]:
    """What a request says in the fields on which a response depends."""
    return {name: request.headers.get(name) for name in names}


def _notes(stored: _Stored, age: int) -> list[tuple[str, str]]:
    ttl = "" if stored.fresh_for is None else f"; ttl={stored.fresh_for - age}"
    return [("age", str(age)), ("cache-status", f"zenvark; hit{ttl}; detail=circuit-open")]


def _directives(value: str) -> dict[str, str]:
    """The directives of a `Cache-Control` field (RFC 9111, section 5.2), by name."""
    directives: dict[str, str] = {}
    for part in value.split(","):
        name, _, argument = part.partition("=")
        directives[name.strip().lower()] = argument.strip().strip('"')
    return directives


def _number(value: str | None) -> int | None:
    """A whole number of seconds, at most 2**31 as RFC 9111 says (section 1.2.2)."""
    if value is None or not re.fullmatch(r"[0-9]{1,1000}", value):
        return None
    return min(int(value), 2**31)
