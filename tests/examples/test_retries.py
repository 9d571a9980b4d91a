"""docs/retries.md: what fails is tried again, what is rejected is not."""

import asyncio
import logging
from typing import Any

import httpx
import pytest

from tests.examples.pages import Block, blocks
from tests.helpers.processes import ROOT
from tests.helpers.servers import ServerHandle
from tests.helpers.waiting import eventually
from zenvark_web import CircuitOpenError

RECIPES = list(blocks(ROOT / "docs/retries.md"))
ATTEMPTS = {"stamina": 3, "tenacity": 3, "httpx_retries": 4}


def library(block: Block) -> str:
    return next(name for name in ATTEMPTS if f" {name} " in block.text.replace("\n", " "))


@pytest.mark.parametrize("recipe", RECIPES, ids=library)
async def test_failures_are_tried_again_and_rejections_are_not(
    recipe: Block,
    redis_server: ServerHandle,
    namespace: str,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.CRITICAL)
    tried: list[httpx.Request] = []

    async def refuse(_: httpx.AsyncHTTPTransport, request: httpx.Request) -> httpx.Response:
        tried.append(request)
        raise httpx.ConnectError("connection refused", request=request)

    monkeypatch.setattr(httpx.AsyncHTTPTransport, "handle_async_request", refuse)
    names: dict[str, Any] = {"__name__": "shop"}
    text = recipe.text.replace("redis://localhost:6379", redis_server.url)
    exec(compile(text.replace('"shop"', repr(namespace)), str(recipe), "exec"), names)
    async with names["coordinator"] as coordinator:
        with pytest.raises(httpx.ConnectError):
            await names["price"]()
        assert len(tried) == ATTEMPTS[library(recipe)]

        async def is_open() -> bool:
            await asyncio.gather(names["price"](), return_exceptions=True)
            return bool(coordinator.breaker("api.example.com").state == "open")

        await eventually(is_open, what="an open circuit")
        tried.clear()
        with pytest.raises(CircuitOpenError):
            await names["price"]()
        assert not tried
        assert coordinator.breaker("api.example.com").blocked
