"""A port stays its server's while that server is down."""

import sys

import httpx
import pytest

from tests.examples.upstream import Upstream
from tests.helpers.ports import Port

AMONG = range(51_000, 52_000)


def test_stopped_server_refuses_and_comes_back_on_its_port() -> None:
    with Upstream() as upstream:
        for _ in range(3):
            assert httpx.get(upstream.url, trust_env=False).is_success
            upstream.stop()
            with pytest.raises(httpx.ConnectError):
                httpx.get(upstream.url, trust_env=False)
            upstream.start()


def test_nobody_else_gets_it() -> None:
    port = Port()
    if sys.platform == "linux":  # elsewhere a server could not listen there either
        with pytest.raises(RuntimeError, match="no port is free"):
            Port(among=[port.number])
    port.release()  # a socket left open is a warning, and so an error


def test_moves_within_its_range_and_leaves_nothing_open() -> None:
    port = Port(among=AMONG)
    before = port.number
    port.move()
    assert port.number != before
    assert {before, port.number} <= set(AMONG)
    port.release()
