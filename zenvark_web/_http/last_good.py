"""The last good response, as a fallback."""

from __future__ import annotations

import re
import time
from collections import OrderedDict
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from hashlib import blake2b
from secrets import token_bytes
from threading import RLock
from typing import Any, TypeAlias, cast

from .._core._checks import check_call, check_number, check_whole
from .._core.awaitables import is_async
from .._runtime import forks
from ..exceptions import CircuitOpenError
from .answer import Answer
from .call_failed import CallFailedError
from .credentials import CREDENTIAL_HEADERS, IDENTIFYING
from .recorder import BodyRecorder

# A shared cache must not store these responses, or not serve them stale (RFC 9111, sections 3 and
# 4.2.4).
FORBIDDEN = frozenset(
    {"no-store", "no-cache", "private", "must-revalidate", "proxy-revalidate", "s-maxage"}
)
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


Key: TypeAlias = tuple[str, str, bytes]
"""A circuit, a URL, and a digest of the principal."""

Variant: TypeAlias = tuple[tuple[str, str | None], ...]
"""The values of the fields in `Vary`."""


@dataclass(frozen=True, slots=True)
class _Stored:
    headers: list[tuple[str, str]]
    body: bytes
    age: float
    at: float
    fresh_for: int | None


class LastGoodResponse:
    """A fallback that returns the last good response to the same request.

        BreakerTransport(coordinator, fallback=LastGoodResponse())

    It stores complete responses with status 200 to GET requests, without delaying them; a body
    that grows too large is discarded. It never stores responses with `Set-Cookie`, event streams,
    responses to requests for a range, and responses that HTTP forbids to store or to serve stale
    (`Cache-Control` with `no-store`, `private`, `no-cache`, `must-revalidate`,
    `proxy-revalidate` or `s-maxage`; RFC 9111). Each circuit has its own responses, and `Vary` is
    respected.

    With `on=("open", "failed")` of a `Fallback` around it, it also replaces responses that failed.

    It stores nothing for requests that identify a principal, whose responses may not be for
    others: requests with one of `credential_headers`, or another field whose name refers to a
    token, a key, a secret, a certificate, a session, a user, a tenant or a group, or ends in `-Id`
    (except `X-Request-Id` and similar). With `per_credential=True` it stores these responses
    separately, `private` ones too, and serves each only to requests with identical fields. With
    `key`, which states for whom a response is, it stores them too, under that key.

    Its responses carry `Age` (RFC 9111, section 5.1) and `Cache-Status` (RFC 9211), in which a
    negative `ttl` states how stale they are. (`Warning: 110` is obsolete, RFC 9111, section 5.5.)
    Without a good response, `when_open` applies.

    Args:
        max_entries: How many responses to store; the least recently used goes first.
        max_bytes: How many bytes of bodies to store in total.
        max_body: How many bytes a body may have.
        max_age: Seconds after which a response is too old to serve.
        per_credential: Whether to store responses to requests that identify a principal.
        credential_headers: Names of further header fields that identify a principal, in addition
            to `Authorization`, `Cookie`, `X-Api-Key` and others (`CREDENTIAL_HEADERS`).
        key: Returns for whom the response to a request is: a string such as a tenant's name, which
            takes the place of the fields that identify a principal, or None to store nothing. A
            response is served to every request with the same key and URL, so the key must name all
            who may not see each other's data.

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
        per_credential: bool = False,
        credential_headers: Collection[str] = (),
        key: Callable[[Any], str | None] | None = None,
    ) -> None:
        check_whole("max_entries", max_entries)
        check_whole("max_bytes", max_bytes)
        check_whole("max_body", max_body)
        check_number("max_age", max_age, above=0, unit="seconds")
        self._max_entries = max_entries
        self._max_bytes = max_bytes
        self._max_body = min(max_body, max_bytes)
        self._max_age = max_age
        self._per_credential = _flag("per_credential", per_credential)
        self._credentials = _names("credential_headers", credential_headers)
        self._key_of = _checked_key(key, per_credential=per_credential)
        self._secret = token_bytes(32)  # digests are good for this object only
        self._stored: OrderedDict[tuple[Key, Variant], _Stored] = OrderedDict()
        self._varying: dict[Key, tuple[str, ...]] = {}
        self._begin_anew()
        forks.watch(self, LastGoodResponse._begin_anew)

    def __repr__(self) -> str:
        return f"<LastGoodResponse entries={len(self._stored)} bytes={self._bytes}>"

    def __call__(self, request: Any, error: CircuitOpenError | CallFailedError) -> Answer | None:
        """The last good response, or None."""
        key, now = self._key(error.name, request), self.now()
        if key is None:
            return None
        with self._lock:
            which = key, _variant(self._varying.get(key, ()), request)
            stored = self._stored.get(which)
            if stored is None:
                return None
            age = stored.age + now - stored.at
            if age > self._max_age:
                self._drop(which)
                return None
            self._stored.move_to_end(which)
        detail = "circuit-open" if isinstance(error, CircuitOpenError) else "call-failed"
        return Answer(stored.body, 200, [*stored.headers, *_notes(stored, int(age), detail)])

    def recorder(self, circuit: str, request: Any, response: Any) -> BodyRecorder | None:
        """Records the body of a good response, if it may be stored."""
        if response.status_code != 200:
            return None
        key = self._key(circuit, request)
        if key is None or not _may_serve(response, of_one=bool(key[2])):
            return None
        names = {name.strip() for name in response.headers.get("vary", "").lower().split(",")}
        variant = _variant(sorted(names - {""}), request)
        if response.is_closed:  # it was never a stream, and is decoded already
            recorder = _Recorder(self, (key, variant), response, decoded=True)
            recorder.add(response.content)
            recorder.complete()
            return None
        return _Recorder(self, (key, variant), response, decoded=False)

    def _key(self, circuit: str, request: Any) -> Key | None:
        """The key of a request's response, or None if it must not be stored."""
        headers = request.headers
        if (
            request.method != "GET"
            or "range" in headers
            or "no-store" in _directives(headers.get("cache-control", ""))
        ):
            return None
        if self._key_of is not None:
            return self._keyed(circuit, request, self._key_of(request))
        identity = [
            (name.lower(), value) for name, value in headers.multi_items() if self._identifies(name)
        ]
        if not identity and not request.url.userinfo:
            return circuit, str(request.url), b""
        if not self._per_credential:
            return None
        return self._keyed(circuit, request, repr((sorted(identity), request.url.userinfo)))

    def _keyed(self, circuit: str, request: Any, who: str | None) -> Key | None:
        """The key of a response that is for one principal."""
        if who is None:
            return None
        if not isinstance(who, str):
            raise TypeError(f"key must return a string or None, not {who!r}")
        digest = blake2b(who.encode("utf-8", "backslashreplace"), key=self._secret).digest()
        return circuit, str(request.url), digest

    def _identifies(self, name: str) -> bool:
        """Whether a header field identifies a principal."""
        return name.lower() in self._credentials or IDENTIFYING.search(name.lower()) is not None

    def now(self) -> float:
        """Monotonic seconds."""
        return time.monotonic()

    @property
    def max_body(self) -> int:
        """How many bytes a body may have."""
        return self._max_body

    def store(self, which: tuple[Key, Variant], stored: _Stored) -> None:
        """Store a response."""
        key, variant = which
        with self._lock:
            # Dropped first, so that it becomes the most recent entry.
            self._drop(which)
            self._stored[which] = stored
            self._varying[key] = tuple(name for name, _ in variant)
            self._bytes += len(stored.body)
            while self._bytes > self._max_bytes or len(self._stored) > self._max_entries:
                self._drop(next(iter(self._stored)))

    def _begin_anew(self) -> None:
        """Also in a forked process, where another thread may have held the lock."""
        self._lock = RLock()  # clients may run in several threads
        self._bytes = sum(len(stored.body) for stored in self._stored.values())

    def _drop(self, which: tuple[Key, Variant]) -> None:
        stored = self._stored.pop(which, None)
        if stored is not None:
            self._bytes -= len(stored.body)
            # Rarely, because it walks over all entries.
            if len(self._varying) > 2 * self._max_entries:
                kept = {key for key, _ in self._stored}
                self._varying = {key: self._varying[key] for key in kept}


class _Recorder(BodyRecorder):
    """Records one body, up to the permitted size."""

    __slots__ = ("_chunks", "_decoded", "_response", "_room", "_store", "_which")

    def __init__(
        self,
        store: LastGoodResponse,
        which: tuple[Key, Variant],
        response: Any,
        *,
        decoded: bool,
    ) -> None:
        self._store = store
        self._which = which
        self._response = response.headers.multi_items()
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
            self._which,
            _Stored(
                headers=[
                    (name, value) for name, value in self._response if name.lower() not in left_out
                ],
                body=b"".join(self._chunks),
                age=_number(headers.get("age")) or 0,
                at=self._store.now(),
                fresh_for=_number(_directives(headers.get("cache-control", "")).get("max-age")),
            ),
        )


def _may_serve(response: Any, *, of_one: bool) -> bool:
    """Whether a response may be stored, for everyone or for one principal."""
    headers = response.headers
    forbidden = FORBIDDEN - {"private"} if of_one else FORBIDDEN
    return (
        "set-cookie" not in headers
        and "*" not in headers.get("vary", "")
        and not headers.get("content-type", "").lower().startswith("text/event-stream")
        and not forbidden & _directives(headers.get("cache-control", "")).keys()
    )


def _variant(names: Iterable[str], request: Any) -> Variant:
    return tuple((name, request.headers.get(name)) for name in names)


def _flag(what: str, value: object) -> bool:
    if not isinstance(value, bool):
        raise TypeError(f"{what} must be True or False, not {value!r}")
    return value


def _checked_key(key: Any, *, per_credential: bool) -> Callable[[Any], str | None] | None:
    if key is not None:
        if not callable(key) or isinstance(key, type) or is_async(key):
            raise TypeError(f"key must be a plain function of the request, not {key!r}")
        check_call("key", key, "a request", None)
        if per_credential:
            raise ValueError("pass key or per_credential=True, not both")
    return cast("Callable[[Any], str | None] | None", key)


def _names(what: str, names: object) -> frozenset[str]:
    if isinstance(names, str) or not isinstance(names, Collection):
        raise TypeError(f"{what} must be names such as ['X-Customer'], not {names!r}")
    given = list(cast(Collection[object], names))
    for name in given:
        if not isinstance(name, str):
            raise TypeError(f"{what} must hold names of header fields, not {name!r}")
        if not re.fullmatch(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+", name):
            raise ValueError(f"{what} must hold names of header fields, not {name!r}")
    return frozenset(str(name).lower() for name in [*CREDENTIAL_HEADERS, *given])


def _notes(stored: _Stored, age: int, detail: str) -> list[tuple[str, str]]:
    ttl = "" if stored.fresh_for is None else f"; ttl={stored.fresh_for - age}"
    return [("age", str(age)), ("cache-status", f"zenvark; hit{ttl}; detail={detail}")]


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
