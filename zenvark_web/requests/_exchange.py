"""A request and its response on their way through httpx' transport."""

from __future__ import annotations

import io
from collections.abc import Mapping
from typing import Any, cast

import httpx
import requests
import urllib3
from requests.adapters import BaseAdapter, HTTPAdapter
from requests.structures import CaseInsensitiveDict

from .._http.stream import SyncResponseBody
from ._bodies import Body, CallersBody, WatchedRaw, plain

SENT = "zenvark_web.requests"
"""The key of what belongs to requests in the extensions of httpx' requests and responses."""

FRAMING = frozenset({"content-length", "transfer-encoding"})
"""Fields that requests derives from the body."""


class Exchange:
    """A request on its way through httpx' transport.

    Args:
        request: The request.
        args, kwargs: How to send it.
    """

    def __init__(
        self, request: requests.PreparedRequest, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> None:
        self._request = request
        self._args = args
        self._kwargs = kwargs
        self._url: httpx.URL | None = None

    def as_httpx(self) -> httpx.Request:
        """The request as httpx has it.

        Raises:
            httpx.InvalidURL: httpx refuses the URL.
        """
        body = self._request.body
        asked = httpx.Request(
            self._request.method or "GET",
            self._request.url or "",
            headers=_encoded(self._request.headers),
            stream=plain(body) or CallersBody(body),
            extensions={SENT: self},
        )
        self._url = asked.url
        return asked

    def send(self, adapter: BaseAdapter, asked: httpx.Request) -> requests.Response:
        """Send the request as it was prepared, or to the other upstream that a fallback names."""
        sent = self._request
        if asked.url != self._url:
            sent = sent.copy()
            sent.url = str(asked.url)
            sent.headers = _readdressed(sent.headers, asked.headers)
        if not isinstance(asked.stream, httpx.ByteStream):
            sent = sent.copy() if sent is self._request else sent
            sent.body = iter(cast(httpx.SyncByteStream, asked.stream))  # watched
        response = adapter.send(sent, *self._args, **self._kwargs)
        if sent.url == self._request.url:
            response.request = self._request
        return response


def _readdressed(
    headers: CaseInsensitiveDict[str | bytes], asked: httpx.Headers
) -> CaseInsensitiveDict[str | bytes]:
    """The headers of a request to another upstream: those that a fallback has left, and its own."""
    spelled = {name.lower(): name for name in headers}
    kept = {name: value for name, value in headers.items() if name.lower() in asked}
    made = CaseInsensitiveDict[str | bytes](kept)
    for name, value in asked.items():
        if name not in FRAMING and (name != "host" or name in spelled):
            made[spelled.get(name, name)] = value
    return made


class Sender(httpx.BaseTransport):
    """An adapter of requests as a transport of httpx.

    Args:
        adapter: The adapter.
    """

    def __init__(self, adapter: BaseAdapter) -> None:
        self._adapter = adapter

    def __repr__(self) -> str:
        return repr(self._adapter)

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """Send a request."""
        exchange: Exchange = request.extensions[SENT]
        response = exchange.send(self._adapter, request)
        body = Body(response.raw)
        # Readers take the body decoded, and so it is recorded.
        headers = [(name, value) for name, value in _encoded(response.headers) if _stays(name)]
        return httpx.Response(
            response.status_code, headers=headers, stream=body, extensions={SENT: (response, body)}
        )

    def close(self) -> None:
        """Close the adapter."""
        self._adapter.close()


def answer_of(answered: httpx.Response, request: requests.PreparedRequest) -> requests.Response:
    """The response to a request, as requests has it.

    Args:
        answered: The response as httpx has it.
        request: The request.
    """
    if SENT not in answered.extensions:
        return _made(answered, request)
    response: requests.Response
    response, body = answered.extensions[SENT]
    if isinstance(answered.stream, SyncResponseBody):
        response.raw = WatchedRaw(response.raw, body, answered.stream)
    return response


def _encoded(headers: Mapping[Any, Any]) -> list[tuple[bytes, bytes]]:
    """Headers as they are sent: httpx refuses text beyond ASCII, which requests encodes."""
    return [(_bytes(name), _bytes(value)) for name, value in headers.items()]


def _bytes(text: Any) -> bytes:
    return text if isinstance(text, bytes) else str(text).encode("latin-1", "replace")


def _stays(name: bytes) -> bool:
    """Whether a header field applies to a decoded body as well."""
    return name.lower() not in {b"content-encoding", b"content-length", b"transfer-encoding"}


def _made(answered: httpx.Response, request: requests.PreparedRequest) -> requests.Response:
    """The response that an open circuit or its fallback has made."""
    content = answered.read()
    headers = [
        (name.decode("latin-1"), value.decode("latin-1"))
        for name, value in answered.headers.raw
        if _stays(name)
    ]
    raw = urllib3.HTTPResponse(
        io.BytesIO(content),
        urllib3.HTTPHeaderDict(headers),
        answered.status_code,
        reason=answered.reason_phrase,
        preload_content=False,
    )
    response = HTTPAdapter().build_response(request, raw)
    # As in httpx: `extensions["breaker"]` tells who made it, to callers and to outer circuits.
    vars(response)["extensions"] = answered.extensions
    return response
