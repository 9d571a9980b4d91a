"""`zenvark_web.wsgi`: the middleware between a server and an app that check it (PEP 3333)."""

import threading
from collections.abc import Callable, Iterable, Iterator
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, make_server
from wsgiref.validate import validator

import httpx
import pytest

from tests.helpers.waiting import PATIENCE, eventually_sync
from zenvark_web import (
    Answer,
    BreakerPolicy,
    CircuitOpenError,
    ConsecutiveFailures,
    ConstantBackoff,
    Coordinator,
    Outcome,
    ProtectedRoute,
    RoutingError,
    State,
    ZenvarkError,
)
from zenvark_web.asgi import rejection_answer
from zenvark_web.wsgi import BreakerMiddleware

BRISK = BreakerPolicy(strategy=ConsecutiveFailures(1), backoff=ConstantBackoff(60))
PATIENT = BreakerPolicy(strategy=ConsecutiveFailures(1_000))
TEXT = [("Content-Type", "text/plain")]


class OwnError(Exception):
    """Something of the app's."""


@pytest.fixture
def errors() -> list[Exception]:
    return []


@pytest.fixture
def coordinator(errors: list[Exception]) -> Iterator[Coordinator]:
    """The circuits `upstream` and `own` open at one failure; that of `upstream` is open."""
    policies = {"upstream": BRISK, "own": BRISK}
    coordinator = Coordinator(policy=PATIENT, policies=policies, on_error=errors.append)
    with coordinator:
        breaker = coordinator.breaker("upstream")
        with pytest.raises(OwnError), breaker.guard():
            raise OwnError
        opens(coordinator, "upstream")
        yield coordinator


def opens(coordinator: Coordinator, name: str) -> None:
    breaker = coordinator.breaker(name)
    eventually_sync(lambda: breaker.state is State.OPEN, within=PATIENCE)


def counted(coordinator: Coordinator, name: str, successes: int, failures: int) -> None:
    """Wait until these are the successes and failures."""
    breaker = coordinator.breaker(name)
    eventually_sync(
        lambda: (
            (sum(breaker.successes.counts), sum(breaker.failures.counts)) == (successes, failures)
        ),
        within=PATIENCE,
    )


def client(app: Any, coordinator: Coordinator, **settings: Any) -> httpx.Client:
    guarded = BreakerMiddleware(validator(app), coordinator, **settings)
    transport = httpx.WSGITransport(app=validator(guarded), raise_app_exceptions=True)
    return httpx.Client(transport=transport, base_url="http://app.example")


def answering(status: str, body: Iterable[bytes] = (b"fine",)) -> Any:
    def app(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        start_response(status, TEXT)
        return list(body)

    return app


def raising(error: Exception) -> Any:
    def app(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        raise error

    return app


class Rejected:
    """Apps to which a rejection happens."""

    def __init__(self, coordinator: Coordinator) -> None:
        self._breaker = coordinator.breaker("upstream")

    def call(self) -> None:
        with self._breaker.guard():
            raise AssertionError

    def raises(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        self.call()
        return []

    def raises_a_group(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        try:
            self.call()
        except CircuitOpenError as error:
            raise ExceptionGroup("in tasks", [error]) from None
        return []

    def raises_after_the_start(
        self, environ: dict[str, Any], start_response: Any
    ) -> Iterable[bytes]:
        start_response("200 OK", TEXT)
        self.call()
        return []

    def raises_in_its_first_part(
        self, environ: dict[str, Any], start_response: Any
    ) -> Iterable[bytes]:
        self.call()
        start_response("200 OK", TEXT)
        yield b"never"

    def answers_with_a_500(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        try:
            self.call()
        except CircuitOpenError:
            start_response("500 Internal Server Error", TEXT)
        return [b"a page of a framework"]

    def handles_it(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        try:
            self.call()
        except CircuitOpenError as error:
            answer = rejection_answer(error)
            assert answer is not None
            start_response("503 Busy", TEXT)
        return [b"own"]


WAYS = ["raises", "raises_a_group", "raises_after_the_start", "raises_in_its_first_part"]


@pytest.mark.parametrize("way", [*WAYS, "answers_with_a_500"])
@pytest.mark.parametrize("routes", [None, {"/": "own"}], ids=["plain", "routes"])
def test_a_rejection_is_a_503_and_no_failure(
    way: str, routes: dict[str, str] | None, coordinator: Coordinator
) -> None:
    app = getattr(Rejected(coordinator), way)
    with client(app, coordinator, routes=routes) as http:
        response = http.get("/")
        assert response.status_code == 503
        assert response.headers["content-type"] == "application/problem+json"
        assert int(response.headers["retry-after"]) >= 1
        assert response.json()["type"] == "urn:zenvark:problem:circuit-open"
        assert http.head("/").content == b""
    counted(coordinator, "own", 0, 0)


def test_an_app_that_handles_rejections_keeps_its_responses(coordinator: Coordinator) -> None:
    apps = Rejected(coordinator)

    def app(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        handled = environ["PATH_INFO"] == "/handled"
        return (apps.handles_it if handled else apps.answers_with_a_500)(environ, start_response)

    with client(app, coordinator) as http:
        assert http.get("/handled").text == "own"
        assert http.get("/other").status_code == 500, "its own, as it handles them"


def test_a_fallback_answers_instead(coordinator: Coordinator) -> None:
    answers = {
        "/json": Answer({"items": []}),
        "/text": Answer("text", 203, {"X-From": "here"}),
        "/bytes": Answer(b"bytes", 299, [("Content-Type", "image/png")]),
        "/default": None,
    }

    def fallback(environ: dict[str, Any], error: CircuitOpenError) -> Answer | None:
        assert error.name == "upstream"
        return answers[environ["PATH_INFO"]]

    with client(Rejected(coordinator).raises, coordinator, fallback=fallback) as http:
        assert http.get("/json").json() == {"items": []}
        text = http.get("/text")
        assert (text.status_code, text.text, text.headers["x-from"]) == (203, "text", "here")
        assert http.get("/bytes").headers["content-type"] == "image/png"
        assert http.get("/default").status_code == 503


def test_a_fallback_that_returns_something_else(coordinator: Coordinator) -> None:
    app = Rejected(coordinator).raises
    guarded = BreakerMiddleware(app, coordinator, lambda environ, error: "text")  # type: ignore[arg-type,return-value]
    with pytest.raises(TypeError, match="must return an Answer"):
        guarded(_environ(), lambda *_: None)


@pytest.mark.parametrize("routes", [None, {"/": "own"}], ids=["plain", "routes"])
def test_other_exceptions_pass(routes: dict[str, str] | None, coordinator: Coordinator) -> None:
    with client(raising(OwnError("mine")), coordinator, routes=routes) as http:
        with pytest.raises(OwnError, match="mine"):
            http.get("/")
        counted(coordinator, "own", 0, 1 if routes else 0)


def test_responses_pass_unchanged(coordinator: Coordinator) -> None:
    closed = threading.Event()

    class Body:
        def __iter__(self) -> Iterator[bytes]:
            yield from (b"", b"one", b"two")

        def close(self) -> None:
            closed.set()

    def app(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        assert environ["zenvark_web.coordinator"] is coordinator
        start_response("200 OK", [*TEXT, ("X-Twice", "a"), ("X-Twice", "b")])
        return Body()

    for routes in (None, {"/": "own"}):
        closed.clear()
        with client(app, coordinator, routes=routes) as http:
            response = http.get("/")
        assert response.content == b"onetwo"
        assert response.headers.get_list("x-twice") == ["a", "b"]
        assert closed.is_set()


def test_an_app_that_writes(coordinator: Coordinator) -> None:
    def app(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        write = start_response("200 OK", TEXT)
        write(b"one")
        write(b"two")
        return [b"three"]

    with Server(BreakerMiddleware(app, coordinator, routes={"/": "own"})) as server:
        assert httpx.get(server.url, trust_env=False).content == b"onetwothree"
    counted(coordinator, "own", 1, 0)


def test_an_app_that_replaces_the_start_of_its_response(coordinator: Coordinator) -> None:
    def app(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        start_response("200 OK", TEXT)
        try:
            raise OwnError
        except OwnError as error:
            start_response("500 Oh", TEXT, (type(error), error, error.__traceback__))
        return [b"oh"]

    with Server(BreakerMiddleware(app, coordinator, routes={"/": "own"})) as server:
        assert httpx.get(server.url, trust_env=False).status_code == 500
    opens(coordinator, "own")


class Server:
    """A real server in a thread."""

    def __init__(self, app: Any) -> None:
        class Quiet(WSGIRequestHandler):
            def log_message(self, *_: object) -> None: ...

        self._server = make_server("127.0.0.1", 0, app, handler_class=Quiet)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))
        self.url = f"http://127.0.0.1:{self._server.server_port}/"

    def __enter__(self) -> "Server":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


# Routes


@pytest.mark.parametrize(
    ("status", "outcome"),
    [
        ("200 OK", (1, 0)),
        ("302 Found", (1, 0)),
        ("404 Not Found", (0, 0)),
        ("422 Unprocessable", (0, 0)),
        ("500 Oh", (0, 1)),
        ("503 Busy", (0, 1)),
        ("501 Not Implemented", (0, 0)),
    ],
)
def test_statuses_of_a_route(
    status: str, outcome: tuple[int, int], coordinator: Coordinator
) -> None:
    with client(answering(status), coordinator, routes={"/": "own"}) as http:
        assert http.get("/").status_code == int(status[:3])
    counted(coordinator, "own", *outcome)


def test_an_open_route_is_rejected_before_the_app_runs(coordinator: Coordinator) -> None:
    ran: list[str] = []

    def app(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        ran.append(environ["PATH_INFO"])
        start_response("500 Oh", TEXT)
        return [b""]

    routes = {"/own": "own", "/needs": ProtectedRoute(needs=["upstream"]), "/free": None}
    with client(app, coordinator, routes=routes) as http:
        assert http.get("/own").status_code == 500
        opens(coordinator, "own")
        for path in ("/own/é", "/needs"):
            response = http.get(path)
            assert response.json()["type"] == "urn:zenvark:problem:route-unavailable"
        assert http.get("/free").status_code == 500
        preflight = {"Origin": "http://other", "Access-Control-Request-Method": "GET"}
        assert http.options("/own", headers=preflight).status_code == 500
    assert ran == ["/own", "/free", "/own"]


def test_routes_by_a_function_and_a_classifier(
    coordinator: Coordinator, errors: list[Exception]
) -> None:
    def routes(environ: dict[str, Any]) -> ProtectedRoute | None:
        if environ["PATH_INFO"] == "/raises":
            raise OwnError
        return ProtectedRoute(
            circuit="own",
            classify=lambda request, answer: (
                Outcome.FAILURE if request.headers["x-kind"] == "bad" else None
            ),
        )

    with client(answering("200 OK"), coordinator, routes=routes) as http:
        assert http.get("/raises").status_code == 200
        assert http.get("/", headers={"X-Kind": "good"}).status_code == 200
        counted(coordinator, "own", 1, 0)
        http.get("/", headers={"X-Kind": "bad"})
        opens(coordinator, "own")
    eventually_sync(lambda: errors, within=PATIENCE)
    assert isinstance(errors[0], RoutingError)


def test_a_body_that_breaks_is_a_failure(coordinator: Coordinator) -> None:
    def app(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        start_response("200 OK", TEXT)
        yield b"half"
        raise OwnError

    body: Any = BreakerMiddleware(app, coordinator, routes={"/": "own"})(
        _environ(), lambda *_: None
    )
    with pytest.raises(OwnError):
        list(body)
    body.close()
    opens(coordinator, "own")


def test_a_client_that_leaves_does_not_count(coordinator: Coordinator) -> None:
    def app(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        start_response("200 OK", TEXT)
        yield from (b"one", b"two")

    guarded = BreakerMiddleware(app, coordinator, routes={"/": "other"})
    body: Any = guarded(_environ(), lambda *_: None)
    assert next(iter(body)) == b"one"
    body.close()
    with client(answering("200 OK"), coordinator, routes={"/": "other"}) as http:
        http.get("/")
    counted(coordinator, "other", 1, 0)


def _environ() -> dict[str, Any]:
    from wsgiref.util import setup_testing_defaults

    environ: dict[str, Any] = {}
    setup_testing_defaults(environ)
    return environ


def test_an_upload_reaches_the_app(coordinator: Coordinator) -> None:
    def app(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        stream = environ["wsgi.input"]
        start_response("200 OK", TEXT)
        return [stream.read(3), stream.readline(), *stream, *stream.readlines(10)]

    with client(app, coordinator, routes={"/": "own"}) as http:
        assert http.post("/", content=b"one two\nthree\nfour").content == b"one two\nthree\nfour"
    counted(coordinator, "own", 1, 0)


def test_the_first_part_closes_what_it_broke(coordinator: Coordinator) -> None:
    closed: list[int] = []

    class Body:
        def __iter__(self) -> Iterator[bytes]:
            raise OwnError

        def close(self) -> None:
            closed.append(1)

    guarded = BreakerMiddleware(lambda environ, start: Body(), coordinator)
    with pytest.raises(OwnError):
        guarded(_environ(), lambda *_: None)
    assert closed == [1]


# The coordinator


def test_it_starts_the_coordinator_with_the_first_request() -> None:
    coordinator = Coordinator()
    with client(answering("200 OK"), coordinator) as http:
        assert not coordinator.running
        http.get("/")
        assert coordinator.running
        coordinator.stop_sync()
        http.get("/")
        assert not coordinator.running, "whoever stops it, wants it stopped"


def test_a_start_that_fails_is_told_and_tried_again_later(
    monkeypatch: pytest.MonkeyPatch, errors: list[Exception]
) -> None:
    class Refusing(Coordinator):
        tries = 0

        def start_sync(self) -> None:
            self.tries += 1
            if self.tries == 1:
                raise OwnError
            super().start_sync()

    coordinator = Refusing(on_error=errors.append)
    with client(answering("200 OK"), coordinator) as http:
        assert http.get("/").status_code == 200
        assert http.get("/").status_code == 200
        assert coordinator.tries == 1
        monkeypatch.setattr("zenvark_web.wsgi._start.time.monotonic", lambda: float("inf"))
        http.get("/")
    assert coordinator.running
    coordinator.stop_sync()
    eventually_sync(lambda: errors, within=PATIENCE)
    assert isinstance(errors[0], ZenvarkError)


def test_settings_that_are_not_usable() -> None:
    coordinator, app = Coordinator(), answering("200 OK")
    with pytest.raises(TypeError, match="app must be a WSGI app"):
        BreakerMiddleware(None, coordinator)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="coordinator must be a Coordinator"):
        BreakerMiddleware(app, None)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="fallback"):
        BreakerMiddleware(app, coordinator, fallback=lambda: None)  # type: ignore[arg-type,misc]
    with pytest.raises(TypeError, match="routes must be a mapping or a function"):
        BreakerMiddleware(app, coordinator, routes=dict)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="routes"):
        BreakerMiddleware(app, coordinator, routes=lambda: None)  # type: ignore[arg-type,misc]
    route = ProtectedRoute(circuit="own", fallback=lambda request, error: None)  # type: ignore[arg-type,return-value]
    with pytest.raises(ValueError, match=r"routes\['/'\] has a fallback"):
        BreakerMiddleware(app, coordinator, routes={"/": route})
