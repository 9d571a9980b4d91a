"""A middleware for Starlette, FastAPI and any other ASGI app."""

from __future__ import annotations

from ._answers import rejection_answer
from ._classify import RouteAnswer
from ._middleware import BreakerMiddleware
from ._routes import ProtectedRoute

__all__ = ["BreakerMiddleware", "ProtectedRoute", "RouteAnswer", "rejection_answer"]
