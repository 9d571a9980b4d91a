"""The transport's settings are checked on arrival, and the message says what to pass."""

from typing import Any

import httpx
import pytest

from zenvark_web import BreakerTransport, Coordinator


@pytest.mark.parametrize(
    ("settings", "error", "message"),
    [
        ({"coordinator": None}, TypeError, "coordinator must be a Coordinator, not None"),
        ({"coordinator": "redis://localhost"}, TypeError, "coordinator must be a Coordinator"),
        ({"coordinator": Coordinator}, TypeError, "coordinator must be a Coordinator"),
        ({"transport": httpx.AsyncClient()}, TypeError, "transport must be an httpx.AsyncBase"),
        ({"transport": httpx.Client()}, TypeError, "transport must be an httpx.AsyncBase"),
        ({"transport": httpx.AsyncHTTPTransport}, TypeError, "transport must be an"),
        ({"circuits": "payments"}, TypeError, "circuits must be a mapping or a function"),
        ({"circuits": ["payments"]}, TypeError, "circuits must be a mapping or a function"),
        ({"circuits": None}, TypeError, "circuits must be a mapping or a function"),
        ({"classify": None}, TypeError, "classify must be callable"),
        ({"classify": 500}, TypeError, "classify must be callable"),
        ({"fallback": httpx.Response(200)}, TypeError, "fallback must be callable"),
        ({"when_open": "return"}, ValueError, "when_open must be 'respond' or 'raise'"),
        ({"when_open": None}, ValueError, "when_open must be 'respond' or 'raise'"),
        ({"when_open": ["raise"]}, ValueError, "when_open must be 'respond' or 'raise'"),
    ],
)
def test_bad_settings_are_refused(
    settings: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        BreakerTransport(**{"coordinator": Coordinator(), **settings})


def test_settings_are_named() -> None:
    with pytest.raises(TypeError, match="positional"):
        BreakerTransport(Coordinator(), None, {})  # type: ignore[misc]


def test_any_object_with_the_methods_of_a_transport_will_do() -> None:
    class Duck:
        async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
            return httpx.Response(200)

    BreakerTransport(Coordinator(), Duck())


async def test_it_needs_neither_a_loop_nor_a_store_to_be_made() -> None:
    transport = BreakerTransport(Coordinator("redis://localhost:1"))
    assert isinstance(transport, httpx.AsyncBaseTransport)
