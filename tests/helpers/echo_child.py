"""A child for the helpers' own tests."""

import asyncio
import os
import sys
import time
from typing import Any

from tests.helpers.child import serve


async def later(value: Any) -> Any:
    await asyncio.sleep(0)
    return value


def block(seconds: float) -> None:
    time.sleep(seconds)


def variable(name: str) -> str | None:
    return os.environ.get(name)


def leave(code: int) -> None:
    os._exit(code)


def complain(text: str) -> None:
    print(text, file=sys.stderr)
    raise ValueError(text)


asyncio.run(
    serve(
        {
            "echo": lambda value: value,
            "later": later,
            "complain": complain,
            "chatter": lambda: print("stray"),
            "block": block,
            "leave": leave,
            "arguments": lambda: sys.argv[1:],
            "variable": variable,
        }
    )
)
