"""An app with the page, for servers as people run them: `uvicorn tests.page.program:app`."""

import os

from starlette.applications import Starlette
from starlette.routing import Mount

from zenvark_web import BreakerMiddleware, Coordinator
from zenvark_web.asgi import StatusApp

coordinator = Coordinator(os.environ.get("PAGE_REDIS"), namespace="page")
app = BreakerMiddleware(
    Starlette(routes=[Mount("/circuits", StatusApp(coordinator))]), coordinator=coordinator
)
