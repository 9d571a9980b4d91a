"""What stands in for an upstream while its circuit is open, for clients of every kind."""

import gzip
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pytest

from tests.helpers.waiting import PATIENCE, eventually_sync
from tests.http import server
from tests.http.backstage import Backstage, backstage
from tests.http.clients import KINDS, Kind
from tests.http.conftest import OPENS_AT_ONCE
from zenvark_web import (
    Answer,
    Breaker,
    BreakerStatus,
    CircuitOpenError,
    Coordinator,
    FixedResponse,
    LastGoodResponse,
    OtherUpstream,
    Outcome,
    State,
)
from zenvark_web._http import last_good as module

URL = "https://api.example.com/prices?for=tea"
NAME = "api.example.com"


@pytest.fixture(scope="module")
def stage() -> Iterator[Backstage]:
    with backstage() as running:
        yield running


@pytest.fixture
def coordinator(stage: Backstage) -> Coordinator:
    return stage.start(OPENS_AT_ONCE)


@pytest.fixture(params=KINDS, ids=str)
def kind(request: pytest.FixtureRequest) -> Kind:
    found: Kind = request.param
    return found


def opened(breaker: Breaker) -> None:
    breaker.acquire().record(Outcome.FAILURE)
    eventually_sync(lambda: breaker.state is State.OPEN, within=PATIENCE)


def send(kind: Kind, transport: Any, *urls: str, method: str = "GET", **settings: Any) -> list[Any]:
    """The responses, bodies read."""

    async def send_async() -> list[Any]:
        async with kind.client(transport) as client:
            return [await client.request(method, url, **settings) for url in urls]

    if kind.sync:
        with kind.client(transport) as client:
            return [client.request(method, url, **settings) for url in urls]
    return kind.run(send_async)


def get(kind: Kind, transport: Any, url: str = URL, **settings: Any) -> Any:
    [response] = send(kind, transport, url, **settings)
    return response


def mock(kind: Kind, answer: Callable[[Any], Any]) -> Any:
    return kind.library.MockTransport(answer)


def dead(kind: Kind) -> Any:
    """An upstream that must not be asked."""

    def refuse(request: Any) -> Any:
        pytest.fail(f"{request.url} was asked for")

    return mock(kind, refuse)


@pytest.mark.parametrize(
    ("made", "content", "type_"),
    [
        (b"raw", b"raw", None),
        ("text", b"text", "text/plain; charset=utf-8"),
        ({"items": []}, b'{"items":[]}', "application/json"),
        ([1, 2], b"[1,2]", "application/json"),
        (Answer({"a": 1}, 203, {"X-A": "b"}), b'{"a":1}', "application/json"),
        (Answer(b"", 204), b"", None),
    ],
)
def test_content_becomes_a_response(
    kind: Kind, coordinator: Coordinator, made: Any, content: bytes, type_: str | None
) -> None:
    opened(coordinator.breaker(NAME))
    seen: list[Any] = []

    def fallback(request: Any, error: Any) -> Any:
        seen.append((request, error))
        return made

    response = get(kind, kind.guarded(coordinator, dead(kind), fallback=fallback))
    assert response.status_code == (made.status if isinstance(made, Answer) else 200)
    assert response.content.replace(b" ", b"") == content
    assert response.headers.get("content-type") == type_
    status = response.extensions["breaker"]
    assert isinstance(status, BreakerStatus)
    assert (status.name, status.state) == (NAME, State.OPEN)
    [(request, error)] = seen
    assert str(request.url) == URL
    assert isinstance(error, kind.ours.CircuitOpenError)
    assert (error.name, error.state) == (NAME, State.OPEN)
    assert 0 < error.retry_after <= 60


def test_none_is_no_answer(kind: Kind, coordinator: Coordinator) -> None:
    opened(coordinator.breaker(NAME))
    transport = kind.guarded(coordinator, dead(kind), fallback=lambda request, error: None)
    assert get(kind, transport).status_code == 503
    transport = kind.guarded(
        coordinator, dead(kind), fallback=lambda request, error: None, when_open="raise"
    )
    with pytest.raises(kind.ours.CircuitOpenError) as caught:
        get(kind, transport)
    assert str(caught.value.request.url) == URL


def test_what_is_no_answer_is_an_error(kind: Kind, coordinator: Coordinator) -> None:
    opened(coordinator.breaker(NAME))
    other = next(other for other in KINDS if other.library is not kind.library)
    for made in (7, object(), other.library.Response(200)):
        transport = kind.guarded(
            coordinator, dead(kind), fallback=lambda request, error, made=made: made
        )
        with pytest.raises(
            TypeError, match=rf"the fallback of circuit {NAME!r} must return an \w+\.Response"
        ):
            get(kind, transport)


def test_async_fallback_is_for_async_clients(kind: Kind, coordinator: Coordinator) -> None:
    opened(coordinator.breaker(NAME))

    async def fallback(request: Any, error: CircuitOpenError) -> str:
        return "later"

    transport = kind.guarded(coordinator, dead(kind), fallback=fallback)
    if kind.sync:
        with pytest.raises(TypeError, match=rf"the fallback of circuit {NAME!r} is async"):
            get(kind, transport)
    else:
        assert get(kind, transport).text == "later"


def test_fallbacks_by_circuit(kind: Kind, coordinator: Coordinator) -> None:
    fallback = {
        "*": FixedResponse("any"),
        "pay*": FixedResponse("pay any"),
        "payments": FixedResponse("payments"),
        "paymen??": FixedResponse("not this one"),
    }
    transport = kind.guarded(
        coordinator, dead(kind), circuits=lambda request: request.url.host, fallback=fallback
    )
    for host, text in {"payments": "payments", "payroll": "pay any", "search": "any"}.items():
        opened(coordinator.breaker(host))
        assert get(kind, transport, f"https://{host}/").text == text


@pytest.mark.parametrize(
    ("make", "arguments", "error"),
    [
        (FixedResponse, {"content": 7}, TypeError),
        (FixedResponse, {"status": 99}, ValueError),
        (FixedResponse, {"status": "200"}, TypeError),
        (OtherUpstream, {"url": 7}, TypeError),
        (OtherUpstream, {"url": "eu.example.com"}, ValueError),
        (OtherUpstream, {"url": "https://user:secret@eu.example.com"}, ValueError),
        (OtherUpstream, {"url": "https://eu.example.com?x=1"}, ValueError),
        (OtherUpstream, {"url": "https://eu.example.com", "transport": object()}, TypeError),
        (LastGoodResponse, {"max_entries": 0}, ValueError),
        (LastGoodResponse, {"max_bytes": 1.5}, TypeError),
        (LastGoodResponse, {"max_age": 0}, ValueError),
        (LastGoodResponse, {"key": "x-tenant"}, TypeError),
        (LastGoodResponse, {"key": lambda _: "x", "per_credential": True}, ValueError),
    ],
)
def test_bad_settings_are_refused(make: Any, arguments: Any, error: type[Exception]) -> None:
    with pytest.raises(error):
        make(**arguments)


class TestOtherUpstream:
    def test_the_request_goes_there_as_it_is(self, kind: Kind, coordinator: Coordinator) -> None:
        opened(coordinator.breaker(NAME))
        seen: list[Any] = []

        def answer(request: Any) -> Any:
            seen.append(request)
            return kind.library.Response(200, text="from eu")

        transport = kind.guarded(
            coordinator,
            mock(kind, answer),
            fallback=OtherUpstream("https://eu.example.com:8443/v1/"),
        )
        response = get(
            kind,
            transport,
            method="POST",
            content=b"body",
            headers={"X-A": "b"},
            extensions={"breaker": NAME},
        )
        assert response.text == "from eu"
        assert response.extensions["breaker"].name == NAME
        [request] = seen
        assert (request.method, str(request.url)) == (
            "POST",
            "https://eu.example.com:8443/v1/prices?for=tea",
        )
        assert request.headers["host"] == "eu.example.com:8443"
        assert request.headers["x-a"] == "b"
        assert request.content == b"body"
        other = coordinator.breaker("eu.example.com:8443")
        eventually_sync(lambda: sum(other.successes.counts) == 1, within=PATIENCE)

    def test_it_has_a_circuit_of_its_own(self, kind: Kind, coordinator: Coordinator) -> None:
        for name in (NAME, "eu.example.com"):
            opened(coordinator.breaker(name))
        fallback = OtherUpstream("https://eu.example.com")
        response = get(kind, kind.guarded(coordinator, dead(kind), fallback=fallback))
        assert response.status_code == 503
        assert response.extensions["breaker"].name == "eu.example.com"

    def test_it_may_have_a_transport_of_its_own(self, kind: Kind, coordinator: Coordinator) -> None:
        opened(coordinator.breaker(NAME))
        closed: list[str] = []

        class Other(kind.library.MockTransport):  # type: ignore[misc,name-defined]
            async def aclose(self) -> None:
                closed.append("async")

            def close(self) -> None:
                closed.append("sync")

        other = Other(lambda _: kind.library.Response(200, text="from eu"))
        fallback = OtherUpstream("https://eu.example.com", other)
        transport = kind.guarded(coordinator, dead(kind), fallback=fallback)
        assert get(kind, transport).text == "from eu"
        assert closed == ["sync" if kind.sync else "async"]
        if kind.sync:
            transport.close()
        else:
            kind.run(transport.aclose)
        assert closed == ["sync" if kind.sync else "async"] * 2
        route = kind.ours.CircuitRoute(NAME, fallback=fallback)
        transport = kind.guarded(coordinator, dead(kind), circuits={"*": route})
        assert get(kind, transport).text == "from eu"
        assert closed == ["sync" if kind.sync else "async"] * 3

    def test_one_that_several_share_is_closed_once(
        self, kind: Kind, coordinator: Coordinator
    ) -> None:
        closed: list[str] = []

        class Shared(kind.library.MockTransport):  # type: ignore[misc,name-defined]
            async def aclose(self) -> None:
                closed.append("async")

            def close(self) -> None:
                closed.append("sync")

        shared = Shared(lambda _: kind.library.Response(200, text="from eu"))
        other = kind.guarded(coordinator, shared)
        transport = kind.guarded(
            coordinator,
            kind.guarded(coordinator, shared, circuits=lambda _: "within"),
            fallback=OtherUpstream("https://eu.example.com", other),
        )
        assert get(kind, transport).text == "from eu"
        assert closed == ["sync" if kind.sync else "async"]
        if kind.sync:
            transport.close()
        else:
            kind.run(transport.aclose)
        assert closed == ["sync" if kind.sync else "async"] * 2


def now(_: LastGoodResponse) -> float:
    return clock[0]


clock = [0.0]


class TestLastGoodResponse:
    @pytest.fixture(autouse=True)
    def _clock(self, monkeypatch: pytest.MonkeyPatch) -> None:
        clock[0] = 1000.0
        monkeypatch.setattr(LastGoodResponse, "now", now)

    def serve(
        self,
        kind: Kind,
        coordinator: Coordinator,
        fallback: LastGoodResponse,
        response: Callable[[], Any],
        **settings: Any,
    ) -> Any:
        """What the caller gets 30 seconds after a good response, with the circuit open."""
        transport = kind.guarded(coordinator, mock(kind, lambda _: response()), fallback=fallback)
        get(kind, transport, **settings)
        opened(coordinator.breaker(NAME))
        clock[0] += 30
        return get(kind, transport, **settings)

    def streamed(self, kind: Kind, *chunks: bytes, **settings: Any) -> Any:
        async def chunks_async() -> AsyncIterator[bytes]:
            for chunk in chunks:
                yield chunk

        body: Any = iter(chunks) if kind.sync else chunks_async()
        return kind.library.Response(200, content=body, **settings)

    def test_it_is_served_and_says_that_it_is_stale(
        self, kind: Kind, coordinator: Coordinator
    ) -> None:
        headers = {
            "Cache-Control": "max-age=10",
            "Age": "5",
            "ETag": '"x"',
            "Transfer-Encoding": "chunked",
            "Cache-Status": "cdn; hit",
        }
        fallback = LastGoodResponse()
        response = self.serve(
            kind,
            coordinator,
            fallback,
            lambda: self.streamed(kind, b"42 ", b"EUR", headers=headers),
        )
        assert (response.status_code, response.content) == (200, b"42 EUR")
        assert response.headers["etag"] == '"x"'
        assert response.headers.get_list("age") == ["35"]
        assert response.headers.get_list("cache-status") == [
            "cdn; hit",
            "zenvark; hit; ttl=-25; detail=circuit-open",
        ]
        assert "warning" not in response.headers
        assert response.extensions["breaker"].name == NAME

    def test_encoded_bodies_stay_encoded(self, kind: Kind, coordinator: Coordinator) -> None:
        encoded = gzip.compress(b"hello" * 100)
        response = self.serve(
            kind,
            coordinator,
            LastGoodResponse(),
            lambda: self.streamed(kind, encoded, headers={"Content-Encoding": "gzip"}),
        )
        assert response.content == b"hello" * 100
        assert response.headers["content-encoding"] == "gzip"
        assert int(response.headers["content-length"]) == len(encoded)

    def test_responses_that_were_never_streams(self, kind: Kind, coordinator: Coordinator) -> None:
        encoded = gzip.compress(b"hello")
        response = self.serve(
            kind,
            coordinator,
            LastGoodResponse(),
            lambda: kind.library.Response(
                200, content=encoded, headers={"Content-Encoding": "gzip"}
            ),
        )
        assert response.content == b"hello"
        assert "content-encoding" not in response.headers

    @pytest.mark.parametrize(
        ("headers", "request_headers"),
        [
            ({"Cache-Control": "no-store"}, {}),
            ({"Cache-Control": "max-age=60, Private"}, {}),
            ({"Cache-Control": 'private="set-cookie"'}, {}),
            ({"Cache-Control": "no-cache"}, {}),
            ({"Cache-Control": "must-revalidate"}, {}),
            ({"Cache-Control": "s-maxage=60"}, {}),
            ({"Set-Cookie": "a=b"}, {}),
            ({"Vary": "*"}, {}),
            ({}, {"Authorization": "Bearer x"}),
            ({}, {"Cookie": "a=b"}),
            ({}, {"Range": "bytes=0-1"}),
            ({}, {"Cache-Control": "no-store"}),
        ],
    )
    def test_what_is_not_for_everyone_is_not_kept(
        self, coordinator: Coordinator, headers: Any, request_headers: Any
    ) -> None:
        kind, fallback = KINDS[0], LastGoodResponse()
        response = self.serve(
            kind,
            coordinator,
            fallback,
            lambda: kind.library.Response(200, text="mine", headers=headers),
            headers=request_headers,
        )
        assert response.status_code == 503
        assert fallback._bytes == 0
        assert not fallback._stored

    @pytest.mark.parametrize(
        "response",
        [{"status_code": 404}, {"status_code": 206}, {"status_code": 301}, {"status_code": 204}],
    )
    def test_only_status_200_is_kept(self, coordinator: Coordinator, response: Any) -> None:
        kind, fallback = KINDS[0], LastGoodResponse()
        got = self.serve(kind, coordinator, fallback, lambda: kind.library.Response(**response))
        assert got.status_code == 503

    def test_only_get_is_kept_and_served(self, coordinator: Coordinator) -> None:
        kind, fallback = KINDS[0], LastGoodResponse()

        def answer(_: Any) -> Any:
            return kind.library.Response(200, text="x")

        transport = kind.guarded(coordinator, mock(kind, answer), fallback=fallback)
        get(kind, transport, method="POST")
        assert not fallback._stored
        get(kind, transport)
        opened(coordinator.breaker(NAME))
        assert get(kind, transport, method="POST").status_code == 503
        assert get(kind, transport).text == "x"
        assert get(kind, transport, headers={"Authorization": "x"}).status_code == 503
        assert get(kind, transport, "https://api.example.com/other").status_code == 503

    def test_vary_is_respected(self, coordinator: Coordinator) -> None:
        kind, fallback = KINDS[0], LastGoodResponse()

        def answer(_: Any) -> Any:
            return kind.library.Response(200, text="x", headers={"Vary": "Accept-Language"})

        transport = kind.guarded(coordinator, mock(kind, answer), fallback=fallback)
        get(kind, transport, headers={"Accept-Language": "de"})
        opened(coordinator.breaker(NAME))
        assert get(kind, transport, headers={"Accept-Language": "de"}).text == "x"
        assert get(kind, transport, headers={"Accept-Language": "fr"}).status_code == 503
        assert get(kind, transport).status_code == 503

    def test_a_key_says_for_whom_private_data_is(
        self, stage: Backstage, kind: Kind, coordinator: Coordinator
    ) -> None:
        def tenant(request: Any) -> str | None:
            found: str | None = request.headers["x-for"]
            return None if found == "nobody" else found

        def answer(request: Any) -> Any:
            name = request.headers.get("x-for", "")
            return kind.library.Response(200, text=name, headers={"Cache-Control": "private"})

        transport = kind.guarded(
            coordinator, mock(kind, answer), fallback=LastGoodResponse(key=tenant)
        )
        for name in ("ann", "bob", "nobody"):
            get(kind, transport, headers={"X-For": name, "Authorization": "Bearer 1"})
        errors = len(stage.errors)
        assert get(kind, transport).status_code == 200  # the key fails, and the call does not
        eventually_sync(lambda: len(stage.errors) > errors, within=PATIENCE)
        assert "key of LastGoodResponse failed" in str(stage.errors[errors])
        opened(coordinator.breaker(NAME))
        with pytest.raises(KeyError):
            get(kind, transport)
        for name, status in (("ann", 200), ("bob", 200), ("eve", 503), ("nobody", 503)):
            headers = {"X-For": name, "Authorization": "Bearer 2"}
            response = get(kind, transport, headers=headers)
            assert response.status_code == status
            assert status == 503 or response.text == name

    def test_too_old_is_not_good_any_more(self, coordinator: Coordinator) -> None:
        kind = KINDS[0]
        for max_age, status in ((29, 503), (31, 200)):
            name = f"circuit-{max_age}"
            transport = kind.guarded(
                coordinator,
                mock(kind, lambda _: kind.library.Response(200, text="x")),
                fallback=LastGoodResponse(max_age=max_age),
                circuits=lambda _, name=name: name,
            )
            get(kind, transport)
            opened(coordinator.breaker(name))
            clock[0] += 30
            assert get(kind, transport).status_code == status

    def test_it_keeps_within_its_limits(self, coordinator: Coordinator) -> None:
        kind = KINDS[0]
        fallback = LastGoodResponse(max_entries=3, max_bytes=25, max_body=10)

        def answer(request: Any) -> Any:
            return self.streamed(kind, b"x" * 4, b"x" * (int(request.url.path[1:]) - 4))

        transport = kind.guarded(coordinator, mock(kind, answer), fallback=fallback)
        base = "https://api.example.com/"
        send(kind, transport, f"{base}9", f"{base}10", f"{base}11")
        assert [url[-2:] for (_, url, _), _ in fallback._stored] == ["/9", "10"]
        send(kind, transport, f"{base}8", f"{base}7")
        assert (fallback._bytes, len(fallback._stored)) == (25, 3)
        send(kind, transport, f"{base}5")
        assert [url[len(base) :] for (_, url, _), _ in fallback._stored] == ["8", "7", "5"]
        assert fallback._bytes == 20

    def test_a_newer_response_takes_the_place_of_the_older(self, coordinator: Coordinator) -> None:
        kind, fallback = KINDS[0], LastGoodResponse()
        sizes = iter([10, 4])
        transport = kind.guarded(
            coordinator,
            mock(kind, lambda _: kind.library.Response(200, content=b"x" * next(sizes))),
            fallback=fallback,
        )
        send(kind, transport, URL, URL)
        assert (fallback._bytes, len(fallback._stored)) == (4, 1)

    def test_a_body_that_grows_too_large_is_discarded(self) -> None:
        library = KINDS[0].library
        fallback = LastGoodResponse(max_body=10)
        request = library.Request("GET", URL)
        response = library.Response(200, stream=library.ByteStream(b""))
        recorder: Any = fallback.recorder(NAME, request, response)
        for _ in range(4):
            recorder.add(b"xxxx")
        assert recorder._chunks == []
        recorder.complete()
        assert not fallback._stored

    def test_bodies_that_were_not_read_to_the_end_are_not_kept(
        self, coordinator: Coordinator, stage: Backstage
    ) -> None:
        for kind in KINDS:
            fallback = LastGoodResponse()
            transport = kind.guarded(coordinator, kind.real_transport(), fallback=fallback)
            stage.set(server.chunked(b"hello", b"world"))
            url = stage.upstream.url

            async def leave(kind: Kind = kind, transport: Any = transport, url: str = url) -> None:
                async with kind.client(transport) as client, client.stream("GET", url) as response:
                    assert response.status_code == 200

            if kind.sync:
                with kind.client(transport) as client, client.stream("GET", url) as response:
                    assert response.status_code == 200
            else:
                kind.run(leave)
            assert not fallback._stored

    def test_many_threads_keep_its_account_straight(self) -> None:
        fallback = LastGoodResponse(max_entries=5, max_bytes=100)

        def store(number: int) -> None:
            for turn in range(300):
                stored = module._Stored([], b"x" * (turn % 30), 0, 0, None)
                fallback.store(((NAME, str((number, turn % 7)), b""), ()), stored)

        threads = [threading.Thread(target=store, args=(number,)) for number in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert fallback._bytes == sum(len(stored.body) for stored in fallback._stored.values())
        assert fallback._bytes <= 100
        assert len(fallback._stored) <= 5
