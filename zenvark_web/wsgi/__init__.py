"""A middleware for Flask, Django under WSGI, and any other WSGI app.

    app = BreakerMiddleware(app, coordinator)

It does what `zenvark_web.BreakerMiddleware` does for ASGI: runs the coordinator, responds with 503
while circuits are open, and protects routes.
"""

from __future__ import annotations

from ._middleware import BreakerMiddleware

__all__ = ["BreakerMiddleware"]
