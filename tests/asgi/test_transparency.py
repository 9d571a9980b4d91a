"""With the middleware around it, an app behaves as it does without: message by message."""

import gc
import random
from collections.abc import AsyncIterator, Callable
from typing import Any

import anyio
import pytest
from starlette.applications import Starlette
from starlette.types import ASGIApp

from tests.asgi import gallery
from tests.asgi.gallery import FOR_THOSE_WHO_LEAVE, GALLERY
from tests.asgi.messages import Played, Script, play
from tests.helpers.spanning import spanning
from tests.helpers.waiting import PATIENCE
from zenvark_web import (
    BreakerMiddleware,
    BreakerPolicy,
    ConsecutiveFailures,
    Coordinator,
    ProtectedRoute,
)

# Starlette leaves streams to the collector, of which trio warns.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")

PATIENT = BreakerPolicy(strategy=ConsecutiveFailures(1_000_000))
EVERYTHING = {"/": ProtectedRoute(circuit="all", needs=["a", "b"]), "/plain": "plain"}
WAYS: dict[str, list[dict[str, Any]]] = {
    "bare": [{}],
    "routes": [{"routes": EVERYTHING}],
    "function": [{"routes": lambda scope: scope["path"] or None}],
    "thrice": [{"routes": EVERYTHING}, {}, {"routes": {"/": "again"}, "fallback": pytest.fail}],
}


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> str:
    backend: str = request.param
    return backend


@pytest.fixture
async def coordinator(anyio_backend: str) -> AsyncIterator[Coordinator]:
    async with Coordinator(policy=PATIENT) as started:
        yield started


def around(app: ASGIApp, way: str, coordinator: Coordinator) -> ASGIApp:
    """The app with the middleware, installed as its framework has it."""
    for settings in WAYS[way]:
        if isinstance(app, Starlette):
            app.add_middleware(BreakerMiddleware, coordinator=coordinator, **settings)
        else:
            app = BreakerMiddleware(app, coordinator, **settings)
    return app


async def result(app: ASGIApp, script: Script) -> tuple[Played, list[str]]:
    gallery.notes.clear()
    random.seed(7)  # what frameworks draw by chance, such as boundaries of multipart ranges
    played = await play(app, script)
    with anyio.fail_after(PATIENCE):
        # The collector ends a stream that was left while it sent. (An error keeps its own alive.)
        while gallery.streaming and played.error is None:
            gc.collect()
            await anyio.sleep(0.001)
    return played, list(gallery.notes)


@pytest.mark.parametrize("way", spanning(WAYS, {"bare", "thrice"}))
@pytest.mark.parametrize("name", GALLERY)
async def test_same_messages(name: str, way: str, coordinator: Coordinator) -> None:
    make, scripts = GALLERY[name]
    bare, wrapped = make(), around(make(), way, coordinator)
    for script in scripts:
        expected, expected_notes = await result(bare, script)
        found, found_notes = await result(wrapped, script)
        assert _texts(found) == _texts(expected), script
        assert found.comparable() == expected.comparable(), script
        assert found_notes == expected_notes, script


def _texts(played: Played) -> list[str]:
    """For a readable difference."""
    return [str(message)[:300] for message in played.sent]


@pytest.mark.parametrize("way", spanning(WAYS, {"bare", "thrice"}))
@pytest.mark.parametrize("script", FOR_THOSE_WHO_LEAVE, ids=str)
async def test_same_for_those_who_leave(script: Script, way: str, coordinator: Coordinator) -> None:
    """How much they got is a matter of chance; how it ended is not."""
    make: Callable[[], ASGIApp] = gallery.starlette
    expected, expected_notes = await result(make(), script)
    found, found_notes = await result(around(make(), way, coordinator), script)
    assert found.comparable()[2] == expected.comparable()[2]
    assert found_notes == expected_notes
    assert _texts(found)[:1] == _texts(expected)[:1]


def test_gallery_is_large() -> None:
    assert sum(len(scripts) for _, scripts in GALLERY.values()) > 400
