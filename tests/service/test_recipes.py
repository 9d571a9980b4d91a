"""The documentation's recipes for Celery and for the SDKs of language models, word by word."""

import asyncio
import json
import os
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from tests.examples.pages import blocks
from tests.helpers.processes import ROOT
from tests.helpers.servers import RedisServer
from tests.helpers.waiting import eventually
from tests.http.server import HOST, Upstream, status
from tests.service.programs import PATIENCE, tasks
from zenvark_web import BreakerPolicy, Coordinator

pytestmark = [pytest.mark.slow, pytest.mark.anyio]

PRICE = status(200, body=b'{"amount": 5}')


async def test_tasks_that_meet_an_open_circuit_go_back_into_the_queue(
    fresh_server: RedisServer, tmp_path: Path
) -> None:
    from celery import Celery
    from celery.exceptions import TimeoutError as NoResultYet

    async with Upstream() as upstream:
        recipe, _waiting = blocks(ROOT / "docs" / "workers.md")
        url = upstream.url
        text = recipe.text.replace("redis://localhost:6379", fresh_server.url)
        (tmp_path / "shop_tasks.py").write_text(text.replace("https://api.example.com", url))
        app = Celery("shop", broker=fresh_server.url, backend=fresh_server.url)
        paths = os.pathsep.join([str(ROOT), str(tmp_path)])
        # The tests' own member of the fleet: what the pool's children suffer, it knows.
        async with (
            tasks("shop_tasks", {"PYTHONPATH": paths}) as pool,
            Coordinator(fresh_server.url, namespace="shop", policy=BreakerPolicy()) as member,
        ):
            upstream.answer = PRICE
            assert await asyncio.to_thread(app.send_task("shop_tasks.price").get, timeout=PATIENCE)

            upstream.answer = status(500)
            circuit = member.breaker(f"{HOST}:{upstream.port}")

            async def is_open() -> bool:
                app.send_task("shop_tasks.price")
                await asyncio.sleep(0.1)
                return circuit.state == "open"

            await eventually(is_open, within=PATIENCE, what="an open circuit")
            patient = app.send_task("shop_tasks.price")
            upstream.answer = PRICE
            try:
                assert await asyncio.to_thread(patient.get, timeout=PATIENCE) == 5
            except NoResultYet:
                pytest.fail(pool.log)


@pytest.mark.parametrize("sdk", ["openai", "anthropic"])
async def test_sdks_of_language_models_give_up_at_once_while_the_circuit_is_open(
    sdk: str, fresh_server: RedisServer
) -> None:
    recipe = next(
        block for block in blocks(ROOT / "docs/llm-sdks.md") if f"client = {sdk}." in block.text
    )
    names: dict[str, Any] = {}
    exec(recipe.text.replace("redis://localhost:6379", fresh_server.url), names)
    async with Upstream() as upstream, names["coordinator"] as coordinator, names["client"]:
        upstream.answer = status(500)
        client = names["client"].with_options(base_url=upstream.url, api_key="key", max_retries=0)
        circuit = coordinator.breaker(f"{HOST}:{upstream.port}")

        async def is_open() -> bool:
            with suppress(names[sdk].InternalServerError):
                await ask(client)
            return bool(circuit.state == "open")

        await eventually(is_open, within=PATIENCE, what="an open circuit")
        before = circuit.blocked
        with pytest.raises(names[sdk].InternalServerError) as raised:
            await ask(client.with_options(max_retries=5))
        assert raised.value.status_code == 503
        assert circuit.blocked == before + 1


async def ask(client: Any) -> None:
    messages = [{"role": "user", "content": "hello"}]
    if hasattr(client, "chat"):
        await client.chat.completions.create(model="m", messages=messages)
    else:
        await client.messages.create(model="m", max_tokens=9, messages=messages)


async def test_another_provider_answers_for_one_that_fails(fresh_server: RedisServer) -> None:
    [recipe] = [
        block for block in blocks(ROOT / "docs/llm-sdks.md") if "async def answer" in block.text
    ]
    names: dict[str, Any] = {}
    exec(recipe.text.replace("redis://localhost:6379", fresh_server.url), names)
    message = {"content": [{"type": "text", "text": "hello"}], "role": "assistant"}
    async with Upstream() as broken, Upstream() as whole, names["coordinator"], names["shared"]:
        broken.answer = status(500)
        whole.answer = status(
            200, "content-type: application/json", body=json.dumps(message).encode()
        )
        for sdk, upstream in (("gpt", broken), ("claude", whole)):
            names[sdk] = names[sdk].with_options(
                base_url=upstream.url, api_key="key", max_retries=0
            )
        assert await names["answer"]("hello?") == "hello"
