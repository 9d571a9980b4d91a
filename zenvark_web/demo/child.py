"""A child process of the demo: `python -m zenvark_web.demo.child NAME` (the name is for `ps`).

It reads its settings as one line of JSON, answers with one line of JSON when it is ready (or when
it can't be), and ends when its standard input closes. The system sees to that when the demo is
gone, whatever became of it, so no process is ever left behind.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from starlette.applications import Starlette

from .errors import SetupError

HOST = "127.0.0.1"
PATIENCE = 6.0
"""Seconds to end in good order."""


def main() -> None:
    """Run the part that the settings name."""
    line = sys.stdin.buffer.readline()
    if line:
        settings = json.loads(line)
        try:
            asyncio.run(_run(settings.pop("part"), settings))
        except SetupError as error:
            _tell(error=str(error))
            sys.exit(str(error))


async def _run(part: str, settings: dict[str, Any]) -> None:
    loop = asyncio.get_running_loop()
    dismissed = asyncio.Event()
    _when_dismissed(loop, dismissed.set)
    with suppress(NotImplementedError):  # Windows
        loop.add_signal_handler(signal.SIGTERM, dismissed.set)
    if part == "server":
        from .server import run

        await run(settings["directory"], dismissed, _tell)
    elif part == "upstream":
        from .upstream import Upstream

        await _serve(Upstream().asgi, dismissed)
    else:
        from .app import App, AppSettings

        store = settings.pop("store")
        await _serve(App(AppSettings(**settings), store).asgi, dismissed)


async def _serve(app: Starlette, dismissed: asyncio.Event) -> None:
    import uvicorn

    with _listening() as listener:
        config = uvicorn.Config(
            app,
            access_log=False,
            log_level="warning",
            timeout_keep_alive=60,  # longer than clients keep theirs, so that none meets its end
            timeout_graceful_shutdown=1,
        )
        server = uvicorn.Server(config)
        serving = asyncio.create_task(server.serve(sockets=[listener]))
        while not server.started and not serving.done():  # noqa: ASYNC110 - no event tells it
            await asyncio.sleep(0.01)
        _tell(url=f"http://{HOST}:{listener.getsockname()[1]}")
        stop = asyncio.create_task(dismissed.wait())
        await asyncio.wait({serving, stop}, return_when=asyncio.FIRST_COMPLETED)
        server.should_exit = True
        await serving


def _listening() -> socket.socket:
    try:
        return socket.create_server((HOST, 0))
    except OSError as error:
        raise SetupError(f"no port is available on {HOST}: {error}") from error


def _when_dismissed(loop: asyncio.AbstractEventLoop, dismiss: Callable[[], None]) -> None:
    def wait() -> None:
        with suppress(OSError):
            while os.read(sys.stdin.fileno(), 1):
                pass
        with suppress(RuntimeError):
            loop.call_soon_threadsafe(dismiss)
        time.sleep(PATIENCE)
        if hasattr(os, "killpg"):  # this process leads its group
            os.killpg(os.getpid(), signal.SIGKILL)
        os._exit(1)

    threading.Thread(target=wait, daemon=True).start()


def _tell(**what: str) -> None:
    with suppress(BrokenPipeError):
        print(json.dumps(what), flush=True)


if __name__ == "__main__":
    main()
