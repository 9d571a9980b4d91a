"""What the page does while nothing happens, and whose work is not lost."""

import asyncio
from typing import Any

import pytest

from tests.page.fleets import call, open_circuit
from zenvark_web import Coordinator, Override
from zenvark_web.asgi._status import board, watch
from zenvark_web.asgi._status.watch import Watch

FOREVER = float("inf")


@pytest.fixture(autouse=True)
def always(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watch, "GLANCE", 0.0)


def circuits(seen: Watch) -> set[str]:
    return set(seen.board._circuits)


async def test_circuits_are_visited_only_after_a_change(
    alone: Coordinator, monkeypatch: pytest.MonkeyPatch
) -> None:
    await call(alone, "search")
    seen, looks = Watch(alone), 0

    def counted(self: Watch) -> Any:
        nonlocal looks
        looks += 1
        return look(self)

    look = Watch.overview
    monkeypatch.setattr(Watch, "overview", counted)
    await seen.refresh()
    monkeypatch.setattr(watch, "SURVEY_INTERVAL", FOREVER)
    for change in (
        call(alone, "payments"),
        open_circuit(alone, "payments"),
        alone.override("search", Override.OBSERVE, reason="a test"),
    ):
        await change
        for _ in range(10):
            await seen.refresh()
    assert circuits(seen) == {"search", "payments"}
    assert looks == 4


async def test_a_viewer_that_leaves_leaves_its_work_to_the_next(
    alone: Coordinator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(board, "TIME_SLICE", 0.0)
    seen = Watch(alone)
    await seen.refresh()
    monkeypatch.setattr(watch, "SURVEY_INTERVAL", FOREVER)
    names = {f"circuit {number}" for number in range(50)}
    await call(alone, *names)
    looking = asyncio.create_task(seen.refresh())
    for _ in range(10):
        await asyncio.sleep(0)
    looking.cancel()
    await asyncio.wait([looking])
    assert not circuits(seen)
    await seen.refresh()
    assert circuits(seen) == names
