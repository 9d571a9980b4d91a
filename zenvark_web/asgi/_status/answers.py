"""Responses of the status page."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from http import HTTPStatus
from typing import Any

from starlette.types import Receive, Scope, Send

from ..._http.problem import MEDIA_TYPE

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
"""Nothing but the page's own files is loaded, nothing is sent elsewhere, and no page frames it."""

SAFETY: Mapping[str, str] = {
    "content-security-policy": POLICY,
    "cross-origin-resource-policy": "same-origin",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
}
"""The headers of every response."""

PART = 64 * 1024
"""Bytes to send at once. A larger response is sent in parts, between which other work has a turn.
"""


class Answer:
    """A response: an ASGI app.

    Args:
        status: The status.
        media_type: The content type.
        body: The body, in parts.
        headers: Further headers.
    """

    def __init__(
        self,
        status: int,
        media_type: str,
        body: Iterable[bytes] = (),
        headers: Mapping[str, str] | None = None,
    ) -> None:
        self._status = status
        self._body = b"".join(body)
        self._headers = {
            "content-type": media_type,
            "content-length": str(len(self._body)),
            "cache-control": "no-store",
            **SAFETY,
            **(headers or {}),
        }

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await send(start(self._status, self._headers))
        body = b"" if scope["method"] == "HEAD" else self._body
        for begin in range(0, len(body), PART):
            part = body[begin : begin + PART]
            await send({"type": "http.response.body", "body": part, "more_body": True})
        await send({"type": "http.response.body", "body": b""})


class Problem(Exception):  # noqa: N818 - it is the name of the response (RFC 9457)
    """A request that gets a problem document.

    Args:
        status: The status.
        detail: What is wrong, and what to do.
        field: The field or parameter that is wrong, if it is one.
        headers: Further headers.
    """

    def __init__(
        self,
        status: int,
        detail: str,
        *,
        field: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(detail)
        self._status = status
        self._field = field
        self._headers = headers

    @property
    def answer(self) -> Answer:
        """The response."""
        document: dict[str, Any] = {
            "type": "about:blank",
            "title": HTTPStatus(self._status).phrase,
            "status": self._status,
            "detail": str(self),
        }
        if self._field is not None:
            document["field"] = self._field
        body = [json.dumps(document).encode()]
        return Answer(self._status, MEDIA_TYPE, body, self._headers)


def start(status: int, headers: Mapping[str, str]) -> dict[str, Any]:
    """Return the message that starts a response."""
    encoded = [(name.encode(), value.encode("latin-1")) for name, value in headers.items()]
    return {"type": "http.response.start", "status": status, "headers": encoded}


def of_json(record: Mapping[str, Any]) -> Answer:
    """Return a response with a record."""
    return Answer(200, "application/json", [json.dumps(record).encode()])
