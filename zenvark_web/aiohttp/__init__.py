"""A client middleware for aiohttp that asks a breaker before each request.

    session = aiohttp.ClientSession(middlewares=[BreakerMiddleware(coordinator)])

It sends through the `BreakerTransport` of httpx: `circuits`, `classify` and `fallback` see requests
and responses as httpx has them, so that one set of them serves both libraries.
"""

from __future__ import annotations

from .._http.client import missing

try:
    import aiohttp as _aiohttp  # noqa: F401  # pyright: ignore[reportUnusedImport]
except ModuleNotFoundError as _error:
    raise missing("aiohttp", _error) from _error

from ._errors import CircuitOpenError
from ._middleware import BreakerMiddleware, default_classify

__all__ = ["BreakerMiddleware", "CircuitOpenError", "default_classify"]
