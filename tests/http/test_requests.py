"""`zenvark_web.requests`: the adapter, with the real library and a real server."""

import gzip
import io
import pickle
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import httpx
import pytest
import requests
from requests.adapters import HTTPAdapter
from urllib3.util.retry import Retry

import zenvark_web
from tests.helpers.waiting import PATIENCE, eventually_sync
from zenvark_web import (
    BreakerPolicy,
    Chain,
    CircuitRoute,
    ConsecutiveFailures,
    ConstantBackoff,
    Coordinator,
    Fallback,
    FixedResponse,
    LastGoodResponse,
    OtherUpstream,
    Outcome,
    State,
)
from zenvark_web import Upstream as NextUpstream
from zenvark_web.requests import (
    BodySentError,
    BreakerAdapter,
    CircuitOpenError,
    default_classify,
)

BRISK = BreakerPolicy(strategy=ConsecutiveFailures(1), backoff=ConstantBackoff(60))
PATIENT = BreakerPolicy(strategy=ConsecutiveFailures(1_000))
BODY = b"0123456789" * 20_000


class Handler(BaseHTTPRequestHandler):
    """Answers as the path says."""

    protocol_version = "HTTP/1.1"
    server: "Upstream"

    def log_message(self, *_: object) -> None: ...

    def do_GET(self) -> None:
        self.server.seen.append((self.path, dict(self.headers)))
        getattr(self, f"_{self.path.strip('/').partition('/')[0] or 'ok'}", self._ok)()

    do_HEAD = do_GET  # noqa: N815

    def do_POST(self) -> None:
        if self.headers.get("transfer-encoding") == "chunked":
            body = b""
            while size := int(self.rfile.readline(), 16):
                body += self.rfile.read(size)
                self.rfile.readline()
            self.rfile.readline()
        else:
            body = self.rfile.read(int(self.headers.get("content-length", 0)))
        self.server.bodies.append(body)
        self.do_GET()

    def _answer(self, status: int, body: bytes = b"", **headers: str) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def _ok(self) -> None:
        self._answer(200, BODY)

    def _zipped(self) -> None:
        self._answer(200, gzip.compress(BODY), Content_Encoding="gzip")

    def _missing(self) -> None:
        self._answer(404)

    def _broken(self) -> None:
        self._answer(500)

    def _busy(self) -> None:
        self._answer(503, Retry_After="77")

    def _away(self) -> None:
        self._answer(302, Location="/ok")

    def _cut(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", "1000")
        self.end_headers()
        self.wfile.write(b"half")
        self.close_connection = True

    def _silent(self) -> None:
        self.server.released.wait(PATIENCE)


class Upstream(ThreadingHTTPServer):
    """Counts what it is asked."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.seen: list[tuple[str, dict[str, str]]] = []
        self.bodies: list[bytes] = []
        self.released = threading.Event()

    def handle_error(self, *_: object) -> None: ...

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    @property
    def circuit(self) -> str:
        return f"127.0.0.1:{self.server_address[1]}"


@pytest.fixture
def upstream() -> Iterator[Upstream]:
    with Upstream() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield server
        finally:
            server.released.set()
            server.shutdown()
            thread.join()


@pytest.fixture
def errors() -> list[Exception]:
    return []


@pytest.fixture
def start(errors: list[Exception]) -> Iterator[Callable[..., Coordinator]]:
    started: list[Coordinator] = []

    def begin(policy: BreakerPolicy = BRISK) -> Coordinator:
        coordinator = Coordinator(policy=policy, on_error=errors.append)
        coordinator.start_sync()
        started.append(coordinator)
        return coordinator

    yield begin
    for coordinator in started:
        coordinator.stop_sync()


def session_of(coordinator: Coordinator, *args: Any, **settings: Any) -> requests.Session:
    session = requests.Session()
    session.trust_env = False
    session.mount("http://", BreakerAdapter(coordinator, *args, **settings))
    return session


def opens(coordinator: Coordinator, upstream: Upstream) -> None:
    breaker = coordinator.breaker(upstream.circuit)
    eventually_sync(lambda: breaker.state is State.OPEN, within=PATIENCE)


def counts(coordinator: Coordinator, circuit: str) -> tuple[int, int]:
    """Successes and failures, as far as the coordinator's thread knows."""
    breaker = coordinator.breaker(circuit)
    return sum(breaker.successes.counts), sum(breaker.failures.counts)


def counted(coordinator: Coordinator, circuit: str, successes: int, failures: int = 0) -> None:
    """Wait until these are the successes and failures."""
    expected = successes, failures
    eventually_sync(lambda: counts(coordinator, circuit) == expected, within=PATIENCE)


def test_requests_pass_unchanged(start: Callable[..., Coordinator], upstream: Upstream) -> None:
    coordinator = start()
    with session_of(coordinator) as session:
        response = session.get(
            f"{upstream.url}/ok;x?a=1&a=%20%C3%A9", headers={"X-Name": "é".encode()}
        )
        assert response.content == BODY
        assert response.url.endswith("/ok;x?a=1&a=%20%C3%A9")
        assert response.request.headers["X-Name"] == "é".encode()
        assert session.get(f"{upstream.url}/zipped").content == BODY
        assert session.head(upstream.url).status_code == 200
        assert session.get(f"{upstream.url}/away").history[0].status_code == 302
    assert upstream.seen[0][0] == "/ok;x?a=1&a=%20%C3%A9"
    counted(coordinator, upstream.circuit, 5, 0)


@pytest.mark.parametrize("path", ["/broken", "/busy", "/cut", "/silent"])
def test_failures_open_it_and_it_answers(
    path: str, start: Callable[..., Coordinator], upstream: Upstream
) -> None:
    coordinator = start()
    with session_of(coordinator) as session:
        with suppress(requests.RequestException):
            session.get(upstream.url + path, timeout=0.2)
        opens(coordinator, upstream)
        asked = len(upstream.seen)
        response = session.get(upstream.url + path)
        assert response.status_code == 503
        assert response.json()["circuit"] == upstream.circuit
        assert response.reason == "Service Unavailable"
        assert int(response.headers["Retry-After"]) >= (77 if path == "/busy" else 1)
        assert response.extensions["breaker"].name == upstream.circuit  # type: ignore[attr-defined]
        assert len(upstream.seen) == asked
        with pytest.raises(requests.HTTPError) as caught:
            response.raise_for_status()
    # An outer circuit does not count it.
    outer = coordinator.breaker("outer")
    with pytest.raises(requests.HTTPError), outer.guard():
        raise caught.value
    assert sum(outer.failures.counts) == 0


def test_refused_connections_open_it_with_the_reason(
    start: Callable[..., Coordinator], upstream: Upstream
) -> None:
    coordinator = start()
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
        with session_of(coordinator) as session, pytest.raises(requests.ConnectionError):
            session.get(f"http://{address}/")
    breaker = coordinator.breaker(address)
    eventually_sync(lambda: breaker.state is State.OPEN, within=PATIENCE)


def test_rejections_are_raised_if_asked_for(
    start: Callable[..., Coordinator], upstream: Upstream
) -> None:
    coordinator = start()
    with session_of(coordinator, when_open="raise") as session:
        session.get(f"{upstream.url}/broken")
        opens(coordinator, upstream)
        with pytest.raises(CircuitOpenError, match=upstream.circuit) as caught:
            session.get(upstream.url)
    error = caught.value
    assert isinstance(error, requests.RequestException)
    assert isinstance(error, zenvark_web.CircuitOpenError)
    assert not isinstance(error, requests.ConnectionError | requests.Timeout)
    assert error.request is not None
    assert error.request.url == f"{upstream.url}/"
    assert error.state is State.OPEN
    assert error.retry_after > 0
    assert str(pickle.loads(pickle.dumps(error))) == str(error)


def test_the_callers_mistakes_and_limits_do_not_count(
    start: Callable[..., Coordinator], upstream: Upstream
) -> None:
    coordinator = start()
    with session_of(coordinator) as session:
        with pytest.raises(requests.exceptions.InvalidHeader):
            session.get(upstream.url, headers={"X": "a\nb"})

        def failing() -> Iterator[bytes]:
            yield b"half"
            raise OSError("the caller's own file")

        with pytest.raises(OSError, match="own file"):
            session.post(upstream.url, data=failing())
        assert session.get(f"{upstream.url}/missing").status_code == 404
    counted(coordinator, upstream.circuit, 0, 0)


def test_bodies_of_callers_are_sent_as_they_are(
    start: Callable[..., Coordinator], upstream: Upstream
) -> None:
    with session_of(start()) as session:
        session.post(upstream.url, data=b"bytes")
        session.post(upstream.url, data=io.BytesIO(BODY))
        session.post(upstream.url, data=iter([b"a", b"b"]))
        session.post(upstream.url, data={"a": "é"})
        response = session.post(upstream.url, files={"f": ("name", io.BytesIO(b"in parts"))})
        assert upstream.bodies[:4] == [b"bytes", BODY, b"ab", b"a=%C3%A9"]
        assert b"in parts" in upstream.bodies[4]
        assert response.request.body is not None


def test_a_streamed_call_ends_with_its_body(
    start: Callable[..., Coordinator], upstream: Upstream
) -> None:
    coordinator = start(PATIENT)
    with session_of(coordinator) as session:
        ways: list[Callable[[requests.Response], object]] = [
            lambda response: b"".join(response.iter_content(1_000)),
            lambda response: response.raw.read(),
            lambda response: [*iter(lambda: response.raw.read(70_000), b"")],
            lambda response: [*response.raw],
            lambda response: [*response.raw.stream(1_000)],
            lambda response: (response.raw.read(10), response.close()),
            lambda response: response.close(),
            lambda response: response.raw.close(),
        ]
        for ended, use in enumerate(ways):
            response = session.get(f"{upstream.url}/ok", stream=True)
            assert "watched" in repr(response.raw)
            counted(coordinator, upstream.circuit, ended, 0)
            use(response)
            counted(coordinator, upstream.circuit, ended + 1, 0)
        response = session.get(f"{upstream.url}/cut", stream=True)
        with pytest.raises(requests.exceptions.ChunkedEncodingError):
            response.content  # noqa: B018
        counted(coordinator, upstream.circuit, len(ways), 1)


def test_fallbacks(start: Callable[..., Coordinator], upstream: Upstream) -> None:
    coordinator = start()
    fallback = {"*": FixedResponse({"items": []}, headers={"X-From": "here"})}
    with session_of(coordinator, fallback=fallback) as session:
        session.get(f"{upstream.url}/broken")
        opens(coordinator, upstream)
        response = session.get(upstream.url)
        assert (response.status_code, response.json()) == (200, {"items": []})
        assert response.headers["x-from"] == "here"
        assert response.url == f"{upstream.url}/"


@pytest.mark.parametrize("path", ["ok", "zipped"])
def test_the_last_good_response(
    path: str, start: Callable[..., Coordinator], upstream: Upstream
) -> None:
    coordinator = start()
    with session_of(coordinator, fallback=LastGoodResponse()) as session:
        assert session.get(f"{upstream.url}/{path}").content == BODY
        with session.get(f"{upstream.url}/{path}?raw", stream=True) as response:
            response.raw.read()  # in a form that is not stored
        session.get(f"{upstream.url}/broken")
        opens(coordinator, upstream)
        asked = len(upstream.seen)
        response = session.get(f"{upstream.url}/{path}")
        assert (response.status_code, response.content) == (200, BODY)
        assert "cache-status" in response.headers
        assert session.get(f"{upstream.url}/{path}?raw").status_code == 503
        assert len(upstream.seen) == asked


def test_another_upstream(start: Callable[..., Coordinator], upstream: Upstream) -> None:
    coordinator = start()
    circuits = {"first.example": "first", "127.0.0.1": "other"}
    fallback = {"first": OtherUpstream(f"{upstream.url}/v2")}
    with session_of(coordinator, circuits=circuits, fallback=fallback) as session:
        with pytest.raises(requests.ConnectionError):
            session.get("http://first.example:1/ok")
        breaker = coordinator.breaker("first")
        eventually_sync(lambda: breaker.state is State.OPEN, within=PATIENCE)
        response = session.post(
            "http://first.example:1/ok?a=1", data=b"twice", headers={"Host": "first.example"}
        )
        assert (response.status_code, response.content) == (200, BODY)
        assert upstream.bodies == [b"twice"]
        [(path, headers)] = upstream.seen
        assert path == "/v2/ok?a=1"
        assert headers["Host"] == upstream.circuit
    counted(coordinator, "other", 1)


def test_a_chain(start: Callable[..., Coordinator], upstream: Upstream) -> None:
    coordinator = start()
    chain = Chain(
        NextUpstream("http://127.0.0.1:1"),
        NextUpstream(f"{upstream.url}/v2", headers={"X-Api-Key": "second"}, circuit="other"),
    )
    fallback = Fallback(chain, on=("open", "failed"))
    with session_of(coordinator, fallback=fallback) as session:
        response = session.post(
            "http://first.example:1/ok?a=1&key=first",
            data=b"twice",
            headers={"Authorization": "Bearer first", "X-Api-Key": "first", "X-Trace": "t"},
        )
        assert (response.status_code, response.content) == (200, BODY)
        [(path, headers)] = upstream.seen
        assert (path, upstream.bodies) == ("/v2/ok?a=1", [b"twice"])
        sent = {name.lower(): value for name, value in headers.items()}
        assert (sent["x-api-key"], sent["x-trace"]) == ("second", "t")
        assert "first" not in " ".join(sent.values())
        with pytest.raises(requests.RequestException, match="pass the body as bytes") as raised:
            session.post(f"{upstream.url}/broken", data=iter([b"once"]))
        assert isinstance(raised.value, BodySentError)
    counted(coordinator, "other", 1)


def test_functions_of_users_see_what_httpx_has(
    start: Callable[..., Coordinator], upstream: Upstream
) -> None:
    seen: list[object] = []

    def circuits(request: httpx.Request) -> CircuitRoute | str | None:
        seen.append(request)
        return None if request.url.path == "/unprotected" else "named"

    def classify(request: httpx.Request, ended: httpx.Response | Exception) -> Outcome:
        seen.append(ended)
        return default_classify(request, ended)

    coordinator = start()
    with session_of(coordinator, circuits=circuits, classify=classify) as session:
        session.get(f"{upstream.url}/unprotected")
        session.post(upstream.url, data=b"body")
    assert [type(each) for each in seen] == [httpx.Request, httpx.Request, httpx.Response]
    counted(coordinator, "named", 1)


def test_retries_of_the_adapter_are_one_call(
    start: Callable[..., Coordinator], upstream: Upstream
) -> None:
    coordinator = start(PATIENT)
    retries = HTTPAdapter(max_retries=Retry(2, status_forcelist=[500], backoff_factor=0))
    with session_of(coordinator, retries) as session, pytest.raises(requests.exceptions.RetryError):
        session.get(f"{upstream.url}/broken")
    assert len(upstream.seen) == 3
    counted(coordinator, upstream.circuit, 0, 1)


def test_a_url_that_httpx_refuses_is_sent_without_a_breaker(
    start: Callable[..., Coordinator], upstream: Upstream, errors: list[Exception]
) -> None:
    long = "a" * 66_000
    with session_of(start()) as session, suppress(requests.RequestException):
        session.get(f"{upstream.url}/?{long}")
    eventually_sync(lambda: errors, within=PATIENCE)
    assert isinstance(errors[0], zenvark_web.RoutingError)


def test_threads_share_an_adapter(start: Callable[..., Coordinator], upstream: Upstream) -> None:
    coordinator = start(PATIENT)
    adapter = BreakerAdapter(coordinator, HTTPAdapter(pool_maxsize=50))

    def use() -> None:
        with requests.Session() as session:
            session.trust_env = False
            session.mount("http://", adapter)
            for _ in range(5):
                assert session.get(upstream.url).content == BODY

    threads = [threading.Thread(target=use) for _ in range(50)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    counted(coordinator, upstream.circuit, 250, 0)


def test_settings_that_are_not_usable() -> None:
    coordinator = Coordinator()
    with pytest.raises(TypeError, match="adapter must be an adapter of requests"):
        BreakerAdapter(coordinator, object())  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="coordinator must be a Coordinator"):
        BreakerAdapter(None)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="when_open"):
        BreakerAdapter(coordinator, when_open="raises")  # type: ignore[arg-type]
    assert "HTTPAdapter" in repr(BreakerAdapter(coordinator))
