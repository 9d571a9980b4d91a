"""The child's side of `tests.helpers.processes`: commands in, replies out, a line each."""

import asyncio
import inspect
import json
import sys
import traceback
from collections.abc import Callable, Mapping
from typing import Any

Handlers = Mapping[str, Callable[..., Any]]


async def serve(handlers: Handlers) -> None:
    """Answer `{"do": name, ...}` by calling that handler, sync or async, until stdin closes."""
    commands = await _standard_input()
    async for line in commands:
        reply = await _handle(handlers, json.loads(line))
        print(json.dumps(reply), flush=True)


async def _handle(handlers: Handlers, command: dict[str, Any]) -> dict[str, Any]:
    try:
        result = handlers[command.pop("do")](**command)
        if inspect.isawaitable(result):
            result = await result
    except Exception as error:
        traceback.print_exc()
        return {"error": repr(error)}
    return {"result": result}


async def _standard_input() -> asyncio.StreamReader:
    reader = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(reader), sys.stdin
    )
    return reader
