"""HTTP/2 on the test server: the connection's preface looks like a request to it."""

from collections.abc import Callable
from typing import TypeAlias

from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import RequestReceived

from tests.http.server import Answer, Exchange

Script: TypeAlias = Callable[[H2Connection, int], None]
OK = [(":status", "200"), ("content-type", "text/plain")]


def http2(first: Script, then: Script | None = None) -> Answer:
    """An answer to the requests of an HTTP/2 connection: what comes first, and what once the test
    lets it go on."""

    async def answer(exchange: Exchange) -> None:
        connection = H2Connection(H2Configuration(client_side=False))
        connection.initiate_connection()
        data = b"PRI * HTTP/2.0\r\n\r\n"
        while data:
            for event in connection.receive_data(data):
                if isinstance(event, RequestReceived):
                    first(connection, event.stream_id)
                    if then is not None:
                        await exchange.send_body(connection.data_to_send())
                        await exchange.go.wait()
                        then(connection, event.stream_id)
            await exchange.send_body(connection.data_to_send())
            data = await exchange.read_some()

    return answer


def complete(connection: H2Connection, stream: int) -> None:
    connection.send_headers(stream, OK)
    connection.send_data(stream, b"hello, ")
    connection.send_data(stream, b"world")
    connection.send_headers(stream, [("x-trailer", "1")], end_stream=True)


def half(connection: H2Connection, stream: int) -> None:
    connection.send_headers(stream, OK)
    connection.send_data(stream, b"hello, ")


def reset(connection: H2Connection, stream: int) -> None:
    connection.reset_stream(stream, error_code=2)


def busy(connection: H2Connection, stream: int) -> None:
    connection.send_headers(stream, [(":status", "503")], end_stream=True)


def say_goodbye(connection: H2Connection, stream: int) -> None:
    """Close in good order, with nothing processed."""
    connection.close_connection(error_code=0, last_stream_id=0)


def go_away(connection: H2Connection, stream: int) -> None:
    connection.close_connection(error_code=2)
