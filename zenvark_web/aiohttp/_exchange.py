"""A request and its response on their way through httpx' transport."""

from __future__ import annotations

import inspect
from types import SimpleNamespace
from typing import Any

import aiohttp
import httpx
from aiohttp.client_middlewares import ClientHandlerType
from aiohttp.helpers import TimerNoop
from multidict import CIMultiDict, CIMultiDictProxy

from .._http.stream import AsyncResponseBody
from ._bodies import Body, WatchedContent

SENT = "zenvark_web.aiohttp"
"""The key of what belongs to aiohttp in the extensions of httpx' requests and responses."""

OF_THE_BODY_AS_SENT = frozenset({"content-encoding", "content-length", "transfer-encoding"})
"""Header fields that do not apply to a decoded body."""

_NEEDS_WRITER = "stream_writer" in inspect.signature(aiohttp.ClientResponse).parameters


def as_httpx(request: aiohttp.ClientRequest, handler: ClientHandlerType) -> httpx.Request:
    """The request as httpx has it. Its body stays with aiohttp, which sends it.

    Raises:
        httpx.InvalidURL: httpx refuses the URL.
    """
    return httpx.Request(
        request.method,
        str(request.url),
        headers=_encoded(request.headers),
        stream=httpx.ByteStream(b""),
        extensions={SENT: (request, handler)},
    )


class Sender(httpx.AsyncBaseTransport):
    """The next handler of a request as a transport of httpx."""

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send a request as it was prepared.

        Raises:
            TypeError: It is to go to another upstream.
        """
        sent: aiohttp.ClientRequest
        sent, handler = request.extensions[SENT]
        if str(request.url) != str(httpx.URL(str(sent.url))):
            # aiohttp has prepared it for the first one, with the credentials for that.
            raise TypeError(
                "a fallback of zenvark_web.aiohttp cannot send a request to another upstream: "
                "call that where the response is missing"
            )
        response = await handler(sent)
        body = Body(response.close)
        headers = [
            (name, value)
            for name, value in _encoded(response.headers)
            if name.decode("latin-1").lower() not in OF_THE_BODY_AS_SENT
        ]
        return httpx.Response(
            response.status, headers=headers, stream=body, extensions={SENT: (response, body)}
        )


async def answer_of(
    answered: httpx.Response, request: aiohttp.ClientRequest
) -> aiohttp.ClientResponse:
    """The response to a request, as aiohttp has it.

    Args:
        answered: The response as httpx has it.
        request: The request.
    """
    if SENT not in answered.extensions:
        return await _made(answered, request)
    response: aiohttp.ClientResponse
    response, body = answered.extensions[SENT]
    if isinstance(answered.stream, AsyncResponseBody):
        watched: Any = WatchedContent(response.content, body, answered.stream)
        if response.content.at_eof():  # there is no body
            await watched.readany()
        else:
            response.content = watched
    return response


def _encoded(headers: Any) -> list[tuple[bytes, bytes]]:
    return [
        (name.encode("latin-1", "replace"), value.encode("latin-1", "replace"))
        for name, value in headers.items()
    ]


async def _made(answered: httpx.Response, request: aiohttp.ClientRequest) -> aiohttp.ClientResponse:
    """The response that an open circuit or its fallback has made."""
    # The constructor is aiohttp's own, and its arguments differ between versions.
    further: dict[str, Any] = {"stream_writer": SimpleNamespace(output_size=0)}
    session: Any = None
    response = aiohttp.ClientResponse(
        request.method,
        request.url,
        writer=None,
        continue100=None,
        timer=TimerNoop(),
        request_info=request.request_info,
        traces=[],
        loop=request.loop,
        session=session,
        **(further if _NEEDS_WRITER else {}),
    )
    fields = [
        (name.decode("latin-1"), value.decode("latin-1")) for name, value in answered.headers.raw
    ]
    vars(response).update(
        version=aiohttp.HttpVersion11,
        status=answered.status_code,
        reason=answered.reason_phrase,
        content=aiohttp.streams.EMPTY_PAYLOAD,
        _headers=CIMultiDictProxy(CIMultiDict(fields)),
        _raw_headers=tuple(answered.headers.raw),
        _body=await answered.aread(),
        # As in httpx: `extensions["breaker"]` tells who made it.
        extensions=answered.extensions,
    )
    return response
