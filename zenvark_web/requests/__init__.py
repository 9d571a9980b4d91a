"""An adapter for requests that asks a breaker before each request.

    session = requests.Session()
    session.mount("https://", BreakerAdapter(coordinator))

It sends through the `BreakerTransport` of httpx: `circuits`, `classify` and `fallback` see requests
and responses as httpx has them, so that one set of them serves both libraries.
"""

from __future__ import annotations

from .._http.client import missing

try:
    import requests as _requests  # noqa: F401  # pyright: ignore[reportUnusedImport]
except ModuleNotFoundError as _error:
    raise missing("requests", _error) from _error

from ._adapter import BreakerAdapter, default_classify
from ._errors import BodySentError, CircuitOpenError

__all__ = ["BodySentError", "BreakerAdapter", "CircuitOpenError", "default_classify"]
