"""Requests and URLs in messages and logs, without what may be secret."""

from __future__ import annotations

import re

from .protocols import RequestLike


def redacted(url: str) -> str:
    """A URL or pattern for messages and logs: without user name and password."""
    return re.sub(r"(^|//)[^/?#]*@", r"\1[secure]@", url)


def described(request: RequestLike) -> str:
    """A request for messages: its method and URL, without user info and query, which may hold
    secrets."""
    try:
        url = request.url
        path = url.raw_path.partition(b"?")[0].decode("ascii", "replace")
        return f"{request.method} {url.scheme}://{url.netloc.decode('ascii', 'replace')}{path}"
    except Exception:  # a substitute for a request, without these attributes
        return "a request"
