"""A port stays its server's while that server is down."""

import socket
import sys

import httpx
import pytest

from tests.examples.upstream import Upstream
from tests.helpers.ports import HOST, Port


def test_stopped_server_refuses_and_comes_back_on_its_port() -> None:
    with Upstream() as upstream:
        for _ in range(3):
            assert httpx.get(upstream.url, trust_env=False).is_success
            upstream.stop()
            with pytest.raises(httpx.ConnectError):
                httpx.get(upstream.url, trust_env=False)
            upstream.start()


def test_nobody_else_gets_it_until_it_is_released() -> None:
    port = Port()
    if sys.platform == "linux":  # elsewhere a server could not listen there either
        with socket.socket() as other, pytest.raises(OSError, match="in use"):
            other.bind((HOST, port.number))
    port.release()
    with socket.socket() as other:
        other.bind((HOST, port.number))


def test_moves_within_its_range_and_leaves_nothing_open() -> None:
    port = Port(highest=40_000)
    before = port.number
    port.move()
    assert port.number != before
    assert max(port.number, before) <= 40_000
    with socket.socket() as other:
        other.bind((HOST, before))
    port.release()
