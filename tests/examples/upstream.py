"""An upstream on a port of its own, which can go away and come back."""

import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Self

from tests.helpers.ports import HOST, Port


class _Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        pass


class Upstream:
    """Answers every request with 200 while it runs; refuses connections otherwise."""

    def __init__(self) -> None:
        self._server: ThreadingHTTPServer | None = None
        self._port = Port()
        self.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
        self._port.release()

    @property
    def circuit(self) -> str:
        return f"{HOST}:{self._port.number}"

    @property
    def url(self) -> str:
        return f"http://{self.circuit}"

    def start(self) -> None:
        self._server = ThreadingHTTPServer((HOST, self._port.number), _Handler)
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()

    def stop(self) -> None:
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()
            self._server = None
