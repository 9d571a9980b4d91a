"""CORS: preflights, and headers that let pages of other origins read a rejection."""

from __future__ import annotations

import copy

from starlette.middleware.cors import CORSMiddleware
from starlette.types import ASGIApp, Scope

DEEPEST = 100
"""How many nested apps are searched: their chain may be endless."""


def is_preflight(scope: Scope) -> bool:
    """Whether a request is a CORS preflight (Fetch, section 3.2.2). It does not reach the app, and
    a browser shows any failure of it as a CORS error."""
    if scope.get("method") != "OPTIONS":
        return False
    names = {name.lower() for name, _ in scope["headers"]}
    return b"origin" in names and b"access-control-request-method" in names


def cors_within(app: object) -> CORSMiddleware | None:
    """The CORS middleware inside this one, or None."""
    for _ in range(DEEPEST):
        if app is None or isinstance(app, CORSMiddleware):
            return app
        app = getattr(app, "app", None)
    return None


def readable(answer: ASGIApp, cors: CORSMiddleware | None) -> ASGIApp:
    """The response with CORS headers, so that pages of other origins can read it."""
    if cors is None:
        return answer
    around = copy.copy(cors)
    around.app = answer
    return around
