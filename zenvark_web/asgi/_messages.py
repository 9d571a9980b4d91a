"""Requests in messages."""

from __future__ import annotations

from starlette.types import Scope


def described(scope: Scope) -> str:
    """The method and path of a request, without its query, which may hold secrets."""
    return f"{scope.get('method', 'websocket')} {scope.get('path')}"
