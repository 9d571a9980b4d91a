"""The documentation's recipe for Celery, word by word, run by Celery."""

import asyncio
import os
from pathlib import Path

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
        [recipe] = blocks(ROOT / "docs" / "workers.md")
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
