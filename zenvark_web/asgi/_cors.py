"""Browsers and circuits: the question before a request, and whether a page may read the answer."""

from __future__ import annotations

import copy

from starlette.middleware.cors import CORSMiddleware
from starlette.types import ASGIApp, Scope

DEEPEST = 100
"""So many apps within one another are looked at: their chain may be endless."""


def is_preflight(scope: Scope) -> bool:
    """Whether a browser asks if it may make a request (Fetch, section 3.2.2): the app is not
    reached by that, and any answer but a good one shows as an error of CORS."""
    if scope.get("method") != "OPTIONS":
        return False
    names = {name.lower() for name, _ in scope["headers"]}
    return b"origin" in names and b"access-control-request-method" in names


def cors_within(app: object) -> CORSMiddleware | None:
    """The middleware for CORS that is further in than this one, if there is one."""
    for _ in range(DEEPEST):
        if app is None or isinstance(app, CORSMiddleware):
            return app
        app = getattr(app, "app", None)
    return None


def readable(answer: ASGIApp, cors: CORSMiddleware | None) -> ASGIApp:
    """The same answer, but such that the pages of other origins can read it that may."""
    if cors is None:
        return answer
    around = copy.copy(cors)
    around.app = answer
    return around
