"""What stands in for calls that fail, and chains of upstreams, for clients of every kind."""

from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import anyio
import httpx
import httpx2
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.helpers.waiting import PATIENCE, eventually_sync
from tests.http import server
from tests.http.backstage import Backstage, backstage
from tests.http.clients import KINDS, Kind
from zenvark_web import (
    BodySentError,
    BreakerPolicy,
    BreakerStatus,
    CallFailedError,
    Chain,
    ConsecutiveFailures,
    Coordinator,
    Fallback,
    FixedResponse,
    LastGoodResponse,
    OtherUpstream,
    Outcome,
    State,
    Upstream,
)
from zenvark_web._rejections import rejection_in

A, B, C = "https://a.example.com", "https://b.example.com", "https://c.example.com:8443/v2"
NAMES = "a.example.com", "b.example.com", "c.example.com:8443"
PROBLEMS = ("open", "failed")


@pytest.fixture(scope="module")
def stage() -> Iterator[Backstage]:
    with backstage() as running:
        yield running


@pytest.fixture
def coordinator(stage: Backstage) -> Coordinator:
    return stage.start(BreakerPolicy(strategy=ConsecutiveFailures(1000)))


@pytest.fixture(params=KINDS, ids=str)
def kind(request: pytest.FixtureRequest) -> Kind:
    found: Kind = request.param
    return found


class Upstreams:
    """Upstreams that answer as told, by host, and note what reaches them."""

    def __init__(self, kind: Kind, **answers: Any) -> None:
        self.kind = kind
        self.answers = answers
        self.requests: list[Any] = []
        self.bodies: list[Body] = []
        self.breaks = False
        self.transport = kind.library.MockTransport(self._answer)

    def _answer(self, request: Any) -> Any:
        self.requests.append(request)
        answer = self.answers[request.url.host[0]]
        if isinstance(answer, str):
            raise getattr(self.kind.library, answer)("made up", request=request)
        status, headers = answer if isinstance(answer, tuple) else (answer, {})
        error = self.kind.library.ReadError("made up") if self.breaks else None
        body = Body(request.url.host.encode(), error)
        self.bodies.append(body)
        return self.kind.library.Response(status, headers=headers, stream=body)

    @property
    def asked(self) -> str:
        """The first letters of the hosts, in order."""
        return "".join(request.url.host[0] for request in self.requests)


class Body(
    httpx.AsyncByteStream, httpx.SyncByteStream, httpx2.AsyncByteStream, httpx2.SyncByteStream
):
    """A body for clients of every kind, which notes how often it is closed."""

    def __init__(self, content: bytes, error: Exception | None) -> None:
        self._content = content
        self._error = error
        self.closed = 0

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for part in self:
            yield part

    def __iter__(self) -> Iterator[bytes]:
        yield self._content
        if self._error is not None:
            raise self._error

    async def aclose(self) -> None:
        self.closed += 1

    def close(self) -> None:
        self.closed += 1


def send(kind: Kind, transport: Any, url: str = A, method: str = "GET", **details: Any) -> Any:
    async def send_async() -> Any:
        async with kind.client(transport) as client:
            return await client.request(method, url, **details)

    if kind.sync:
        with kind.client(transport) as client:
            return client.request(method, url, **details)
    return kind.run(send_async)


def shut(coordinator: Coordinator, *names: str) -> None:
    for name in names:
        breaker = coordinator.breaker(name)
        while breaker.state is State.CLOSED:
            for _ in range(1000):
                breaker.acquire().record(Outcome.FAILURE)
            eventually_sync(lambda breaker=breaker: breaker.state is State.OPEN, within=PATIENCE)


class TestFailedCalls:
    @pytest.mark.parametrize(
        ("answer", "on", "replaced"),
        [
            (500, ("failed",), True),
            (503, ("open", "failed"), True),
            ("ConnectError", ("failed",), True),
            ("ReadTimeout", ("failed",), True),
            (429, ("failed",), True),
            (429, ("throttled",), True),
            ((503, {"Retry-After": "5"}), ("throttled",), True),
            (503, ("throttled",), False),
            (500, ("throttled",), False),
            (500, ("open",), False),
            ("PoolTimeout", ("failed",), False),
            (404, ("failed",), False),
            (200, ("failed",), False),
        ],
    )
    def test_are_replaced_as_told(
        self, kind: Kind, coordinator: Coordinator, answer: Any, on: Any, replaced: bool
    ) -> None:
        upstreams = Upstreams(kind, a=answer)
        transport = kind.guarded(
            coordinator, upstreams.transport, fallback=Fallback(FixedResponse("instead"), on=on)
        )
        if not replaced:
            if isinstance(answer, str):
                with pytest.raises(getattr(kind.library, answer)):
                    send(kind, transport)
            else:
                response = send(kind, transport)
                assert response.status_code == (answer if isinstance(answer, int) else answer[0])
                assert response.text == "a.example.com"
            return
        response = send(kind, transport)
        assert (response.status_code, response.text) == (200, "instead")
        status: BreakerStatus = response.extensions["breaker"]
        assert (status.name, status.state) == ("a.example.com", State.CLOSED)
        if isinstance(answer, str):
            assert type(status.error) is getattr(kind.library, answer)
        else:
            assert status.status_code == (answer if isinstance(answer, int) else answer[0])
            assert upstreams.bodies[0].closed
        breaker = coordinator.breaker("a.example.com")
        eventually_sync(lambda: sum(breaker.failures.counts) == 1, within=PATIENCE)

    def test_a_function_learns_what_happened_and_may_decline(
        self, kind: Kind, coordinator: Coordinator
    ) -> None:
        seen: list[Any] = []

        def decline(request: Any, error: Any) -> None:
            seen.append(error)

        upstreams = Upstreams(kind, a=500)
        transport = kind.guarded(
            coordinator, upstreams.transport, fallback=Fallback(decline, on=PROBLEMS)
        )
        response = send(kind, transport)
        assert (response.status_code, response.text) == (500, "a.example.com")
        assert "breaker" not in response.extensions
        [error] = seen
        assert isinstance(error, CallFailedError)
        assert str(error) == "a call of circuit 'a.example.com' failed: status 500"

    def test_a_fallback_that_raises_leaves_no_response_open(
        self, kind: Kind, coordinator: Coordinator
    ) -> None:
        def fail(request: Any, error: Any) -> None:
            raise LookupError("nothing there")

        upstreams = Upstreams(kind, a=500)
        transport = kind.guarded(
            coordinator, upstreams.transport, fallback=Fallback(fail, on=("failed",))
        )
        with pytest.raises(LookupError):
            send(kind, transport)
        assert upstreams.bodies[0].closed

    def test_another_upstream_is_sent_the_request(
        self, kind: Kind, coordinator: Coordinator
    ) -> None:
        upstreams = Upstreams(kind, a=500, b=200)
        transport = kind.guarded(
            coordinator, upstreams.transport, fallback=Fallback(OtherUpstream(B), on=PROBLEMS)
        )
        response = send(kind, transport, method="POST", content=b"body")
        assert (response.text, response.extensions["breaker"].status_code) == (NAMES[1], 500)
        assert upstreams.requests[1].content == b"body"

    def test_the_last_good_response_is(self, kind: Kind, coordinator: Coordinator) -> None:
        upstreams = Upstreams(kind, a=200)
        fallback = Fallback(LastGoodResponse(), on=PROBLEMS)
        transport = kind.guarded(coordinator, upstreams.transport, fallback=fallback)
        assert send(kind, transport).text == NAMES[0]
        upstreams.answers["a"] = 500
        response = send(kind, transport)
        assert (response.status_code, response.text) == (200, NAMES[0])
        assert response.headers["cache-status"] == "zenvark; hit; detail=call-failed"

    def test_a_body_that_breaks_is_not_replaced(self, kind: Kind, coordinator: Coordinator) -> None:
        """The caller has the headers."""
        upstreams = Upstreams(kind, a=200)
        fallback = Fallback(FixedResponse("instead"), on=PROBLEMS)
        transport = kind.guarded(coordinator, upstreams.transport, fallback=fallback)
        upstreams.breaks = True
        with pytest.raises(kind.library.ReadError):
            send(kind, transport)

    @pytest.mark.parametrize("ends", ["ReadTimeout", 500])
    def test_a_call_that_a_clock_has_told_before_is_replaced(
        self, stage: Backstage, kind: Kind, ends: Any
    ) -> None:
        """It counts once, and the caller gets the fallback when it ends."""
        policy = BreakerPolicy(strategy=ConsecutiveFailures(1000), first_chunk=0.02)
        coordinator = stage.start(policy)
        breaker = coordinator.breaker("clocked")
        library = kind.library

        def end(request: Any) -> Any:
            if isinstance(ends, str):
                raise getattr(library, ends)("made up", request=request)
            return library.Response(ends, stream=Body(b"", None))

        class Silent(library.AsyncBaseTransport, library.BaseTransport):  # type: ignore[misc,name-defined]
            async def handle_async_request(self, request: Any) -> Any:
                with anyio.fail_after(PATIENCE):
                    while not sum(breaker.failures.counts):
                        await anyio.sleep(0.005)
                return end(request)

            def handle_request(self, request: Any) -> Any:
                eventually_sync(lambda: sum(breaker.failures.counts) == 1, within=PATIENCE)
                return end(request)

        fallback = Fallback(FixedResponse("instead"), on=("failed",))
        transport = kind.guarded(
            coordinator, Silent(), circuits=lambda _: "clocked", fallback=fallback
        )
        assert send(kind, transport).text == "instead"
        assert stage.counts(breaker) == (0, 1)

    def test_what_was_replaced_is_no_rejection(self, kind: Kind, coordinator: Coordinator) -> None:
        """An error that a client raises for the replacement is not about an open circuit."""
        upstreams = Upstreams(kind, a=500)
        fallback = Fallback(FixedResponse("no", status=502), on=("failed",))
        response = send(kind, kind.guarded(coordinator, upstreams.transport, fallback=fallback))
        with pytest.raises(kind.library.HTTPStatusError) as raised:
            response.raise_for_status()
        assert rejection_in(raised.value) is None


class TestChain:
    def guarded(
        self, kind: Kind, coordinator: Coordinator, upstreams: Upstreams, **more: Any
    ) -> Any:
        most = more.pop("most", 3)
        chain = Chain(Upstream(B, **more), Upstream(C), most=most)
        return kind.guarded(coordinator, upstreams.transport, fallback=Fallback(chain, on=PROBLEMS))

    def test_goes_on_until_a_call_does_not_fail(self, kind: Kind, coordinator: Coordinator) -> None:
        upstreams = Upstreams(kind, a=500, b="ConnectError", c=200)
        transport = self.guarded(kind, coordinator, upstreams)
        response = send(kind, transport, f"{A}/chat?x=1", method="POST", content=b"body")
        assert (response.status_code, response.text, upstreams.asked) == (
            200,
            "c.example.com",
            "abc",
        )
        assert response.extensions["breaker"].status_code == 500
        last = upstreams.requests[-1]
        assert str(last.url) == f"{C}/chat?x=1"
        assert (last.method, last.content) == ("POST", b"body")
        assert last.headers["host"] == "c.example.com:8443"
        assert all(body.closed for body in upstreams.bodies[:-1])
        for name, failed in zip(NAMES, (1, 1, 0), strict=True):
            breaker = coordinator.breaker(name)
            eventually_sync(
                lambda breaker=breaker, failed=failed: sum(breaker.failures.counts) == failed
            )

    def test_passes_over_open_circuits_without_a_call(
        self, kind: Kind, coordinator: Coordinator
    ) -> None:
        shut(coordinator, *NAMES[:2])
        upstreams = Upstreams(kind, c=200)
        response = send(kind, self.guarded(kind, coordinator, upstreams))
        assert (response.text, upstreams.asked) == ("c.example.com", "c")
        breaker = coordinator.breaker(NAMES[1])  # where the rejection shows demand for a trial
        eventually_sync(lambda: breaker.blocked == 1, within=PATIENCE)

    def test_all_open_is_as_without_a_chain(self, kind: Kind, coordinator: Coordinator) -> None:
        shut(coordinator, *NAMES)
        upstreams = Upstreams(kind)
        response = send(kind, self.guarded(kind, coordinator, upstreams))
        assert (response.status_code, upstreams.asked) == (503, "")
        assert response.extensions["breaker"].name == NAMES[0]

    def test_the_last_result_is_the_callers(self, kind: Kind, coordinator: Coordinator) -> None:
        upstreams = Upstreams(kind, a=500, b=500, c=502)
        response = send(kind, self.guarded(kind, coordinator, upstreams))
        assert (response.status_code, response.text) == (502, "c.example.com")
        assert all(body.closed for body in upstreams.bodies)
        upstreams = Upstreams(kind, a=500, b=500, c="ReadTimeout")
        with pytest.raises(kind.library.ReadTimeout):
            send(kind, self.guarded(kind, coordinator, upstreams))

    def test_most_limits_the_requests(self, kind: Kind, coordinator: Coordinator) -> None:
        upstreams = Upstreams(kind, a=500, b=502, c=200)
        response = send(kind, self.guarded(kind, coordinator, upstreams, most=2))
        assert (response.status_code, upstreams.asked) == (502, "ab")

    def test_credentials_never_go_along(self, kind: Kind, coordinator: Coordinator) -> None:
        secrets = {
            "Authorization": "Bearer first",
            "Proxy-Authorization": "Basic first",
            "Cookie": "sid=first",
            "X-Api-Key": "first",
            "Api-Key": "first",
            "X-Goog-Api-Key": "first",
            "OpenAI-Organization": "first",
        }
        upstreams = Upstreams(kind, a=500, b=(500, {"Set-Cookie": "sid=second"}), c=200)
        transport = self.guarded(
            kind, coordinator, upstreams, headers={"authorization": "Bearer second"}
        )
        send(kind, transport, f"{A}/?x=1&key=first&y=2", headers={**secrets, "X-Trace": "t"})
        a, b, c = upstreams.requests
        assert {name: a.headers[name] for name in secrets} == secrets
        assert b.headers["authorization"] == "Bearer second"
        for other in (b, c):
            sent = " ".join([*map(str, other.headers.values()), str(other.url)])
            assert "first" not in sent
            assert other.headers["x-trace"] == "t"
            assert other.url.query == b"x=1&y=2"
        assert "authorization" not in c.headers

    def test_no_cookie_of_another_upstream_is_kept_for_the_first(
        self, kind: Kind, coordinator: Coordinator
    ) -> None:
        upstreams = Upstreams(kind, a=500, b=(200, {"Set-Cookie": "sid=second"}))
        response = send(kind, self.guarded(kind, coordinator, upstreams))
        assert (response.text, "set-cookie" in response.headers) == (NAMES[1], False)

    @pytest.mark.parametrize("sent", [True, False])
    def test_a_body_that_is_gone_ends_it_with_an_error_that_says_why(
        self, kind: Kind, coordinator: Coordinator, sent: bool
    ) -> None:
        async def parts_async() -> AsyncIterator[bytes]:
            yield b"part"

        def parts() -> Iterator[bytes]:
            yield b"part"

        upstreams = Upstreams(kind, a=500, b=200)
        if not sent:
            shut(coordinator, NAMES[0])
        transport = self.guarded(kind, coordinator, upstreams)
        body = parts() if kind.sync else parts_async()
        if not sent:
            assert send(kind, transport, method="POST", content=body).text == NAMES[1]
            return
        with pytest.raises(kind.library.TransportError, match="pass the body as bytes") as raised:
            send(kind, transport, method="POST", content=body)
        assert isinstance(raised.value, BodySentError)
        assert (upstreams.asked, raised.value.name) == ("a", NAMES[0])
        assert upstreams.bodies[0].closed

    def test_an_upstream_may_have_a_circuit_and_a_transport_of_its_own(
        self, kind: Kind, coordinator: Coordinator
    ) -> None:
        closed: list[str] = []

        class Other(kind.library.MockTransport):  # type: ignore[misc,name-defined]
            async def aclose(self) -> None:
                closed.append("b")

            def close(self) -> None:
                closed.append("b")

        own = Other(lambda _: kind.library.Response(200, text="own"))
        upstreams = Upstreams(kind, a=500)
        transport = self.guarded(kind, coordinator, upstreams, circuit="backup", transport=own)
        assert (send(kind, transport).text, upstreams.asked) == ("own", "a")
        backup = coordinator.breaker("backup")
        eventually_sync(lambda: sum(backup.successes.counts) == 1, within=PATIENCE)
        assert closed == ["b"]


class TestCancellation:
    """A caller who gives up, at each moment of a chain."""

    @pytest.mark.parametrize("kind", [kind for kind in KINDS if not kind.sync], ids=str)
    @pytest.mark.parametrize("held", ["a", "close a", "b"])
    def test_leaves_nothing_open_and_no_permit_out(
        self, kind: Kind, coordinator: Coordinator, held: str
    ) -> None:
        bodies: list[Body] = []
        asked: list[str] = []
        arrived: list[anyio.Event] = []

        class Held(Body):
            async def aclose(self) -> None:
                await super().aclose()
                if held == "close a":
                    await hold()

        async def hold() -> None:
            arrived[0].set()
            await anyio.sleep_forever()

        class Slow(kind.library.AsyncBaseTransport):  # type: ignore[misc,name-defined]
            async def handle_async_request(self, request: Any) -> Any:
                host = request.url.host[0]
                asked.append(host)
                if held == host:
                    await hold()
                body = Held(b"", None)
                bodies.append(body)
                return kind.library.Response(500, stream=body)

        chain = Fallback(Chain(Upstream(B, circuit="leg")), on=PROBLEMS)
        transport = kind.guarded(coordinator, Slow(), circuits=lambda _: "own", fallback=chain)

        async def give_up() -> None:
            arrived.append(anyio.Event())
            async with anyio.create_task_group() as tasks:
                request = kind.library.Request("GET", A)
                tasks.start_soon(transport.handle_async_request, request)
                with anyio.fail_after(PATIENCE):
                    await arrived[0].wait()
                tasks.cancel_scope.cancel()

        kind.run(give_up)
        assert asked == {"a": ["a"], "close a": ["a"], "b": ["a", "b"]}[held]
        assert all(body.closed for body in bodies)
        for name, failures in (("own", held != "a"), ("leg", False)):
            breaker = coordinator.breaker(name)
            eventually_sync(
                lambda breaker=breaker, failures=failures: (
                    sum(breaker.failures.counts) == failures and not sum(breaker.successes.counts)
                ),
                within=PATIENCE,
            )


@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_a_pool_of_one_connection_is_enough(stage: Backstage, kind: Kind) -> None:
    """The failed response is closed before the next request needs its connection."""
    coordinator = stage.start(BreakerPolicy(strategy=ConsecutiveFailures(1000)))
    stage.set(server.status(500, body=b"x" * 100_000))
    limits = kind.library.Limits(max_connections=1)
    inner = kind.real_transport(limits=limits)
    there = stage.upstream.url.replace("127.0.0.1", "localhost")
    chain = Fallback(Chain(Upstream(there, circuit="leg")), on=PROBLEMS)
    transport = kind.guarded(coordinator, inner, circuits=lambda _: "own", fallback=chain)
    response = send(kind, transport, stage.upstream.url, timeout=PATIENCE)
    assert (response.status_code, len(stage.upstream.requests)) == (500, 2)


ANSWERS = st.sampled_from([200, 200, 404, 429, 500, 503, "ConnectError", "PoolTimeout", "open"])


@settings(max_examples=60, deadline=None)
@given(
    answers=st.lists(ANSWERS, min_size=4, max_size=4),
    most=st.integers(1, 5),
    on=st.sets(st.sampled_from(["open", "failed", "throttled"]), min_size=1),
    number=st.sampled_from([index for index, kind in enumerate(KINDS) if kind.runner != "trio"]),
)
def test_at_most_so_many_requests_and_one_response(
    stage: Backstage, answers: list[Any], most: int, on: set[Any], number: int
) -> None:
    """Whatever upstreams answer: at most `most` requests are sent, each upstream gets one at most,
    the caller gets one response, and all others are closed."""
    kind = KINDS[number]
    names = [f"{letter}-{next(numbers)}.example.com" for letter in "wxyz"]
    coordinator = quick(stage)
    shut(
        coordinator,
        *(name for name, answer in zip(names, answers, strict=True) if answer == "open"),
    )
    upstreams = Upstreams(kind, **dict(zip("wxyz", answers, strict=True)))
    chain = Chain(*(Upstream(f"https://{name}") for name in names[1:]), most=most)
    transport = kind.guarded(coordinator, upstreams.transport, fallback=Fallback(chain, on=on))
    got: list[Any] = []
    try:
        got.append(send(kind, transport, f"https://{names[0]}"))
    except kind.library.TransportError:
        got.append(None)
    assert len(upstreams.asked) <= max(most, "open" in on or answers[0] != "open")
    assert len(set(upstreams.asked)) == len(upstreams.asked)
    assert "".join(sorted(upstreams.asked)) == upstreams.asked
    [response] = got
    assert all(body.closed == 1 for body in upstreams.bodies[:-1])
    if response is not None and upstreams.bodies and response.status_code != 503:
        assert response.text == upstreams.requests[-1].url.host


numbers: Iterator[int] = iter(range(10**6))
started: dict[int, Coordinator] = {}


def quick(stage: Backstage) -> Coordinator:
    """One for all examples."""
    if id(stage) not in started:
        started[id(stage)] = stage.start(BreakerPolicy(strategy=ConsecutiveFailures(1000)))
    return started[id(stage)]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Fallback(FixedResponse(), on="open"), "on must be a collection"),
        (lambda: Fallback(FixedResponse(), on=()), "on must hold some of failed, open, throttled"),
        (lambda: Fallback(FixedResponse(), on=("shut",)), "on must hold some of"),
        (lambda: Fallback(3), "make must be callable"),
        (Chain, "a chain has 1 to 20 upstreams"),
        (lambda: Chain(B), "a chain consists of Upstream"),
        (lambda: Chain(Upstream(B), most=0), "most"),
        (lambda: Upstream("b.example.com"), "url must be one such as"),
        (lambda: Upstream("https://user:secret@b.example.com"), r"\[secure\]@b"),
        (lambda: Upstream(B, headers=["x"]), "headers must be a mapping"),
        (lambda: Upstream(B, headers={"x": 1}), "'x' does not"),
        (lambda: Upstream(B, circuit=""), "circuit"),
        (lambda: Upstream(B, transport=3), "transport must be a transport"),
    ],
)
def test_settings_that_are_not_usable(make: Callable[[], Any], message: str) -> None:
    with pytest.raises((TypeError, ValueError), match=message):
        make()


def test_reprs_hold_no_secrets() -> None:
    chain = Fallback(Chain(Upstream(B, headers={"X-Api-Key": "secret"})), on=PROBLEMS)
    assert repr(chain) == f"Fallback(Chain(Upstream('{B}'), most=3), on=('failed', 'open'))"
