"""An HTTP/2 server that is restarted says GOAWAY once, and all streams of that connection end: six
of them were six failures in a row, of an upstream that asked for no more than a new connection."""

from collections.abc import Iterator
from typing import Any

import anyio
import anyio.to_thread
import pytest
from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import RequestReceived

from tests.helpers.waiting import PATIENCE
from tests.http.backstage import Backstage, backstage
from tests.http.clients import KINDS, Kind
from tests.http.http2 import http2
from tests.http.server import Answer, Exchange
from zenvark_web import BreakerPolicy, ConsecutiveFailures, Coordinator

STREAMS = 6
NO_ERROR, INTERNAL_ERROR, CALM_DOWN = 0, 2, 11


@pytest.fixture(scope="module")
def stage() -> Iterator[Backstage]:
    with backstage() as running:
        yield running


@pytest.fixture(scope="module")
def coordinator(stage: Backstage) -> Coordinator:
    return stage.start(BreakerPolicy(strategy=ConsecutiveFailures(1_000_000)))


def goodbye(code: int | None, last: int | None) -> Answer:
    """Let so many requests come, then end the connection.

    Args:
        code: Why. None: without a word.
        last: The last stream that the server has processed. None: all.
    """

    async def answer(exchange: Exchange) -> None:
        connection = H2Connection(H2Configuration(client_side=False))
        connection.initiate_connection()
        data, streams = b"PRI * HTTP/2.0\r\n\r\n", 0
        while data:
            for event in connection.receive_data(data):
                streams += isinstance(event, RequestReceived)
            if streams == STREAMS:
                if code is not None:
                    connection.close_connection(code, last_stream_id=last)
                    await exchange.send_body(connection.data_to_send())
                    await exchange.client_left()
                exchange.reset()
                return
            await exchange.send_body(connection.data_to_send())
            data = await exchange.read_some()

    return answer


def play(
    stage: Backstage, coordinator: Coordinator, kind: Kind, name: str, read: float = PATIENCE
) -> list[Exception]:
    """Send all requests at once, over one connection."""
    transport = kind.guarded(
        coordinator, kind.real_transport(http1=False, http2=True), circuits=lambda _: name
    )
    raised: list[Exception] = []

    async def call(client: Any) -> None:
        try:
            if kind.sync:
                await anyio.to_thread.run_sync(client.get, stage.upstream.url)
            else:
                await client.get(stage.upstream.url)
        except Exception as error:
            raised.append(error)

    async def main() -> None:
        timeout = kind.library.Timeout(PATIENCE, read=read)
        client = kind.client(transport, timeout=timeout)
        async with anyio.create_task_group() as tasks:
            for _ in range(STREAMS):
                tasks.start_soon(call, client)
        await (anyio.to_thread.run_sync(client.close) if kind.sync else client.aclose())

    anyio.run(main, backend="asyncio" if kind.sync else kind.runner)
    return raised


@pytest.mark.parametrize("kind", KINDS, ids=str)
@pytest.mark.parametrize(
    "ending",
    [
        (NO_ERROR, 0, 0),  # nothing was processed: all may be sent again
        (NO_ERROR, None, 1),  # it may have been
        (INTERNAL_ERROR, 0, 1),
        (INTERNAL_ERROR, None, 1),
        (CALM_DOWN, 0, 1),
    ],
)
def test_the_end_of_a_connection_counts_once(
    stage: Backstage,
    coordinator: Coordinator,
    kind: Kind,
    ending: tuple[int, int | None, int],
) -> None:
    code, last, failures = ending
    name = f"{kind} {code} {last}"
    for round_ in (1, 2):
        stage.set(goodbye(code, last))
        raised = play(stage, coordinator, kind, name)
        assert [type(error) for error in raised] == [kind.library.RemoteProtocolError] * STREAMS
        assert stage.counts(coordinator.breaker(name)) == (0, failures * round_)


@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_a_connection_that_breaks_counts_once(
    stage: Backstage, coordinator: Coordinator, kind: Kind
) -> None:
    name = f"{kind} broken"
    for round_ in (1, 2):
        stage.set(goodbye(None, None))
        raised = play(stage, coordinator, kind, name)
        assert len(raised) == STREAMS
        assert all(isinstance(error, kind.library.TransportError) for error in raised)
        assert stage.counts(coordinator.breaker(name)) == (0, round_)


@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_calls_that_time_out_count_each(
    stage: Backstage, coordinator: Coordinator, kind: Kind
) -> None:
    """An upstream that hangs is noticed as soon as over HTTP/1."""
    name = f"{kind} timeouts"
    stage.set(http2(lambda *_: None))
    raised = play(stage, coordinator, kind, name, read=0.3)
    assert [type(error) for error in raised] == [kind.library.ReadTimeout] * STREAMS
    assert stage.counts(coordinator.breaker(name)) == (0, STREAMS)
