"""What an error says by what it is, and by what it was raised from."""

import asyncio
import errno
import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import anyio
import h2.exceptions
import h11
import httpcore
import httpx
import pytest
import trio

from tests.helpers.waiting import PATIENCE
from tests.http import server
from tests.http.clients import KINDS, Kind
from tests.http.either import over, use
from zenvark_web import CircuitOpenError, Coordinator, HttpClassifier, Outcome
from zenvark_web._http.classify import DEFAULT, label
from zenvark_web._http.errors import LONGEST_CHAIN, causes

REQUEST = httpx.Request("GET", "https://api.example.com")
FAILURE, IGNORED = Outcome.FAILURE, Outcome.IGNORED


def named(name: str, *bases: type[Exception]) -> Exception:
    """An error of a library that is not installed here."""
    return type(name, bases or (Exception,), {})("it failed")


@pytest.mark.parametrize(
    ("error", "outcome"),
    [
        # python-socks, and what it is derived from
        (named("ProxyError", type(named("ProxyException"))), FAILURE),
        (named("ProxyTimeoutError", TimeoutError), FAILURE),
        (named("ProxyConnectionError", OSError), FAILURE),
        # aiohttp
        (named("ServerDisconnectedError", type(named("ClientConnectionError"))), FAILURE),
        (named("ClientPayloadError"), FAILURE),
        (named("InvalidURL", ValueError), IGNORED),
        # The layers below httpx
        (httpcore.ConnectError(), FAILURE),
        (httpcore.ReadTimeout(), FAILURE),
        (httpcore.RemoteProtocolError(), FAILURE),
        (httpcore.ProxyError(), FAILURE),
        (httpcore.PoolTimeout(), IGNORED),
        (httpcore.LocalProtocolError(), IGNORED),
        (httpcore.UnsupportedProtocol(), IGNORED),
        (h11.RemoteProtocolError("no HTTP"), FAILURE),
        (h11.LocalProtocolError("too much"), IGNORED),
        (h2.exceptions.ProtocolError(), FAILURE),
        (h2.exceptions.StreamClosedError(1), FAILURE),
        (h2.exceptions.TooManyStreamsError(), IGNORED),
        (h2.exceptions.NoAvailableStreamIDError(), IGNORED),
        (trio.TooSlowError(), FAILURE),
        (trio.BrokenResourceError(), FAILURE),
        (trio.ClosedResourceError(), IGNORED),
        (anyio.BrokenResourceError(), FAILURE),
        (anyio.EndOfStream(), FAILURE),
        (asyncio.IncompleteReadError(b"", 1), FAILURE),
        (ssl.SSLError(), FAILURE),
        (socket.gaierror(), FAILURE),
        (TimeoutError(), FAILURE),
        # Groups: what is a failure in them counts.
        (ExceptionGroup("", [httpx.ReadError(""), TimeoutError()]), FAILURE),
        (ExceptionGroup("", [ExceptionGroup("", [trio.TooSlowError()])]), FAILURE),
        (ExceptionGroup("", [KeyError(), httpx.ReadError("")]), FAILURE),
        (ExceptionGroup("", [KeyError(), httpx.PoolTimeout("")]), IGNORED),
        (ExceptionGroup("", [CircuitOpenError("inner", 1.0)]), IGNORED),
        (ExceptionGroup("", [CircuitOpenError("inner", 1.0), OSError()]), FAILURE),
        (KeyError(), IGNORED),
        (RuntimeError("event loop is closed"), IGNORED),
    ],
)
def test_errors_count_by_what_they_are(error: Exception, outcome: Outcome) -> None:
    assert DEFAULT(REQUEST, error) is outcome


@pytest.mark.parametrize(
    ("settings", "error", "outcome"),
    [
        ({"failure_errors": ()}, trio.TooSlowError(), IGNORED),
        ({"ignored_errors": ["TransportError"]}, trio.TooSlowError(), IGNORED),
        ({"ignored_errors": ["ProxyError"]}, named("ProxyError"), IGNORED),
        ({"ignored_errors": [trio.TooSlowError]}, trio.TooSlowError(), IGNORED),
        ({"ignored_errors": ["TransportError"]}, httpx.ReadError(""), IGNORED),
        ({"ignored_errors": ["NetworkError"]}, httpx.ReadError(""), IGNORED),
    ],
)
def test_those_of_other_libraries_count_as_transport_errors_do(
    settings: Any, error: Exception, outcome: Outcome
) -> None:
    assert HttpClassifier(**settings)(REQUEST, error) is outcome


def raised_from(error: Exception, *chain: BaseException) -> Exception:
    result = error
    for cause in chain:
        error.__cause__ = cause
        error = cause  # type: ignore[assignment]
    return result


@pytest.mark.parametrize("code", [errno.EMFILE, errno.ENFILE, errno.EADDRNOTAVAIL, errno.ENOBUFS])
def test_what_this_process_has_run_out_of_is_not_the_upstreams(code: int) -> None:
    limit = OSError(code, "none left")
    assert DEFAULT(REQUEST, limit) is IGNORED
    error = raised_from(httpx.ConnectError(""), httpcore.ConnectError(), limit)
    assert DEFAULT(REQUEST, error) is IGNORED
    group = ExceptionGroup("several addresses", [limit])
    assert DEFAULT(REQUEST, raised_from(httpx.ConnectError(""), OSError(), group)) is IGNORED


def test_what_was_merely_being_handled_says_nothing() -> None:
    """A caller that retries in an `except` block."""
    error = httpx.ConnectError("")
    error.__context__ = OSError(errno.EMFILE, "none left")
    assert DEFAULT(REQUEST, error) is FAILURE
    assert label(error) == "ConnectError"


def test_an_endless_chain_ends() -> None:
    error, other = httpx.ConnectError(""), OSError()
    error.__cause__, other.__cause__ = other, error
    assert len(list(causes(error))) == LONGEST_CHAIN
    assert label(error) == "ConnectError"


@pytest.mark.parametrize(
    ("cause", "text"),
    [
        (socket.gaierror(socket.EAI_NONAME, "unknown"), "ConnectError (name resolution)"),
        (ConnectionRefusedError(), "ConnectError (refused)"),
        (ssl.SSLCertVerificationError(), "ConnectError (TLS certificate)"),
        (ssl.SSLError(), "ConnectError (TLS)"),
        (ConnectionResetError(), "ConnectError (closed)"),
        (OSError(errno.EHOSTUNREACH, "no route"), "ConnectError (unreachable)"),
        (OSError(errno.ENETUNREACH, "no network"), "ConnectError (unreachable)"),
        (ExceptionGroup("", [OSError(), ConnectionRefusedError()]), "ConnectError (refused)"),
        (OSError("something"), "ConnectError"),
    ],
)
def test_a_label_tells_why_a_connection_failed(cause: Exception, text: str) -> None:
    assert label(raised_from(httpx.ConnectError(""), httpcore.ConnectError(), cause)) == text


def test_other_labels_are_names() -> None:
    assert label(httpx.ReadTimeout("")) == "ReadTimeout"
    assert label(httpx.Response(503)) == "HTTP 503"
    rejection = CircuitOpenError("inner", 1.0)
    assert label(ExceptionGroup("", [rejection, httpx.ReadError("")])) == "ReadError"


@contextmanager
def no_tls() -> Iterator[int]:
    """The port of a server that answers the beginning of a TLS handshake in plain words."""
    with socket.create_server((server.HOST, 0)) as listening:

        def answer() -> None:
            with listening.accept()[0] as connection:
                connection.recv(65536)
                connection.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")
                with suppress(ConnectionError):
                    connection.recv(65536)

        thread = threading.Thread(target=answer)
        thread.start()
        yield listening.getsockname()[1]
        thread.join(PATIENCE)


@pytest.mark.parametrize("kind", KINDS, ids=str)
@pytest.mark.parametrize("why", ["refused", "name resolution", "TLS"])
def test_a_trip_tells_why_connections_failed(kind: Kind, why: str) -> None:
    """As the libraries raise it, each in its own way."""
    labels: list[str] = []

    def classify(_: Any, ended: Any) -> Outcome:
        labels.append(label(ended))
        return Outcome.IGNORED

    transport = kind.guarded(Coordinator(), kind.real_transport(), classify=classify)

    async def fail(client: Any, url: str) -> None:
        with pytest.raises(kind.library.ConnectError):
            await over(client.get(url))

    async def work(client: Any) -> None:
        if why == "refused":
            with server.unused_port() as port:
                await fail(client, f"http://{server.HOST}:{port}/")
        elif why == "TLS":
            with no_tls() as port:
                await fail(client, f"https://{server.HOST}:{port}/")
        else:
            await fail(client, "http://no-such-host.invalid/")

    use(kind, transport, work)
    assert labels == [f"ConnectError ({why})"]
