"""The receiver of a webhook, which refuses the first messages."""

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self

from tests.helpers.ports import HOST


class Webhook:
    """Receives messages.

    Args:
        failures: The number of messages to answer with 503 before any other.

    Attributes:
        received: All messages, refused ones, too, each with its `key`.
    """

    def __init__(self, failures: int) -> None:
        self.received: list[dict[str, Any]] = []
        webhook = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["content-length"])))
                webhook.received.append({**body, "key": self.headers["idempotency-key"]})
                self.send_response(503 if len(webhook.received) <= failures else 200)
                self.send_header("content-length", "0")
                self.end_headers()

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002
                pass

        self._server = ThreadingHTTPServer((HOST, 0), Handler)

    @property
    def url(self) -> str:
        return f"http://{HOST}:{self._server.server_port}"

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
