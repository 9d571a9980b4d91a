"""A middleware for Starlette, FastAPI and any other ASGI app."""

from __future__ import annotations

from ._answers import rejection_answer
from ._classify import RouteAnswer
from ._middleware import BreakerMiddleware
from ._routes import ProtectedRoute
from ._status.app import StatusApp

__all__ = ["BreakerMiddleware", "ProtectedRoute", "RouteAnswer", "StatusApp", "rejection_answer"]
