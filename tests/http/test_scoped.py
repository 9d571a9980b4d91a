"""Calls with the circuit of a provider and that of a key: one key's 429 is nobody else's."""

import asyncio
import hashlib
from collections.abc import Callable, Iterator
from io import BytesIO
from typing import Any

import httpx
import pytest
import requests
from hypothesis import given
from hypothesis import strategies as st
from requests.adapters import BaseAdapter
from urllib3 import HTTPResponse

from tests.http.circuits import counts, half_open
from tests.http.clients import KINDS as ALL_KINDS
from tests.http.clients import Kind
from tests.http.either import over, sent, use
from zenvark_web import (
    BreakerPolicy,
    BreakerTransport,
    ConsecutiveFailures,
    ConstantBackoff,
    Coordinator,
    Outcome,
    Scoped,
    State,
    key_name,
)
from zenvark_web.requests import BreakerAdapter
from zenvark_web.testing import Fleet

URL = "https://api.example.com/"
POLICY = BreakerPolicy(strategy=ConsecutiveFailures(1), backoff=ConstantBackoff(10))
KINDS = [kind for kind in ALL_KINDS if kind.runner != "trio"]
by_kind = pytest.mark.parametrize("kind", KINDS, ids=str)


@pytest.fixture
def fleet() -> Iterator[Fleet]:
    with Fleet(policy=POLICY) as fleet:
        yield fleet


def circuits(request: Any) -> Scoped:
    return Scoped(provider="openai", key=key_name("openai", request.headers["Authorization"]))


def breakers(coordinator: Coordinator, *keys: str) -> list[Any]:
    names = ["openai", *(key_name("openai", key) for key in keys)]
    return [coordinator.breaker(name) for name in names]


def answering(kind: Kind, answers: dict[str, Any]) -> Any:
    """An upstream that answers by key: a status, a response or an error."""

    def answer(request: Any) -> Any:
        made = answers[request.headers["Authorization"]]
        if isinstance(made, Exception):
            raise made
        if isinstance(made, int):
            return kind.library.Response(made, stream=kind.library.ByteStream(b"{}"))
        return made

    return kind.library.MockTransport(answer)


def exchange(kind: Kind, transport: Any, *keys: str, **settings: Any) -> list[int | None]:
    """Read a response for each key; the statuses, or None for an error."""

    async def work(client: Any) -> list[int | None]:
        statuses: list[int | None] = []
        for key in keys:
            try:
                response = await sent(client, URL, headers={"Authorization": key}, **settings)
                await over(response.read() if kind.sync else response.aread())
                statuses.append(response.status_code)
            except kind.library.TransportError:
                statuses.append(None)
        return statuses

    return use(kind, transport, work)  # type: ignore[no-any-return]


def wrapped(kind: Kind, coordinator: Coordinator, answers: dict[str, Any], **settings: Any) -> Any:
    settings = {"circuits": circuits, **settings}
    return kind.ours.BreakerTransport(coordinator, answering(kind, answers), **settings)


@by_kind
@pytest.mark.parametrize("status", [401, 402, 403, 429])
def test_a_keys_status_opens_the_circuit_of_the_key_alone(
    fleet: Fleet, kind: Kind, status: int
) -> None:
    coordinator = fleet.coordinator()
    provider, bad, good = breakers(coordinator, "bad", "good")
    transport = wrapped(kind, coordinator, {"bad": status, "good": 200})
    assert exchange(kind, transport, "bad", "good") == [status, 200]
    fleet.advance()
    assert [provider.state, bad.state, good.state] == [State.CLOSED, State.OPEN, State.CLOSED]
    assert exchange(kind, transport, "bad", "good") == [503, 200]
    fleet.advance()
    assert counts(provider) == (2, 0)
    assert counts(good) == (2, 0)
    assert counts(bad) == (0, 1)


@by_kind
@pytest.mark.parametrize("failure", ["status", "error", "body"])
def test_other_failures_open_the_circuit_of_the_provider_alone(
    fleet: Fleet, kind: Kind, failure: str
) -> None:
    coordinator = fleet.coordinator()
    provider, key = breakers(coordinator, "key")
    made = {
        "status": 500,
        "error": kind.library.ConnectError("refused"),
        "body": kind.library.Response(200, stream=breaking(kind)),
    }[failure]
    transport = wrapped(kind, coordinator, {"key": made, "other": 200})
    exchange(kind, transport, "key")
    fleet.advance()
    assert [provider.state, key.state] == [State.OPEN, State.CLOSED]
    assert exchange(kind, transport, "other") == [503]
    assert counts(key) == (0, 0)


def breaking(kind: Kind) -> Any:
    class Sync(kind.library.SyncByteStream):  # type: ignore[misc]
        def __iter__(self) -> Iterator[bytes]:
            yield b"{"
            raise kind.library.ReadError("reset")

    class Async(kind.library.AsyncByteStream):  # type: ignore[misc]
        async def __aiter__(self) -> Any:
            yield b"{"
            raise kind.library.ReadError("reset")

    return Sync() if kind.sync else Async()


@by_kind
def test_other_answers_count_for_neither(fleet: Fleet, kind: Kind) -> None:
    coordinator = fleet.coordinator()
    both = breakers(coordinator, "key")
    assert exchange(kind, wrapped(kind, coordinator, {"key": 404}), "key") == [404]
    assert [counts(each) for each in both] == [(0, 0), (0, 0)]


@by_kind
def test_a_rejected_key_gives_the_permit_of_the_provider_back(fleet: Fleet, kind: Kind) -> None:
    patient = BreakerPolicy(strategy=ConsecutiveFailures(1), backoff=ConstantBackoff(3000))
    coordinator = fleet.coordinator(policies={"openai#*": patient})
    provider, bad = breakers(coordinator, "bad")
    transport = wrapped(kind, coordinator, {"bad": 429, "good": 200})
    exchange(kind, transport, "bad")
    fleet.advance()
    half_open(fleet, provider)
    for _ in range(3):
        assert exchange(kind, transport, "bad") == [503]
        assert [provider.verdict, bad.verdict] == [State.HALF_OPEN, State.OPEN]
        fleet.advance(0.1)  # the one permit is there again
    assert exchange(kind, transport, "good", "good") == [200, 503]
    fleet.advance()
    assert provider.state is State.CLOSED


@by_kind
def test_a_keys_status_passes_the_trial_of_the_provider(fleet: Fleet, kind: Kind) -> None:
    coordinator = fleet.coordinator()
    provider, key = breakers(coordinator, "key")
    half_open(fleet, provider)
    assert exchange(kind, wrapped(kind, coordinator, {"key": 429}), "key") == [429]
    fleet.advance()
    assert [provider.state, key.state] == [State.CLOSED, State.OPEN]


@by_kind
def test_the_trial_of_a_key_is_not_over_by_a_failure_of_the_provider(
    fleet: Fleet, kind: Kind
) -> None:
    coordinator = fleet.coordinator(policies={"openai": BreakerPolicy()})
    _, key = breakers(coordinator, "key")
    half_open(fleet, key)
    answers: dict[str, Any] = {"key": 500}
    transport = wrapped(kind, coordinator, answers)
    assert exchange(kind, transport, "key") == [500]
    fleet.advance()
    assert key.verdict is State.HALF_OPEN
    answers["key"] = 200
    assert exchange(kind, transport, "key") == [200]
    fleet.advance()
    assert key.state is State.CLOSED


@by_kind
def test_retry_after_of_a_keys_status_is_the_keys(fleet: Fleet, kind: Kind) -> None:
    coordinator = fleet.coordinator()
    provider, key = breakers(coordinator, "key")
    limited = kind.library.Response(429, headers={"Retry-After": "45"})
    exchange(kind, wrapped(kind, coordinator, {"key": limited}), "key")
    fleet.advance()
    assert key.retry_after > 40
    assert provider.retry_after == 0


@by_kind
def test_settings_of_a_request_keep_the_statuses_of_the_key(fleet: Fleet, kind: Kind) -> None:
    coordinator = fleet.coordinator()
    provider, key = breakers(coordinator, "key")
    transport = wrapped(kind, coordinator, {"key": 429})
    own = {"breaker": {"classify": lambda *_: Outcome.SUCCESS, "when_open": "raise"}}
    assert exchange(kind, transport, "key", extensions=own) == [429]
    fleet.advance()
    assert [provider.state, key.state] == [State.CLOSED, State.OPEN]
    assert exchange(kind, transport, "key", extensions=own) == [None]


def test_the_error_names_the_circuit_that_rejects(fleet: Fleet) -> None:
    coordinator = fleet.coordinator()
    name = key_name("openai", "key")
    fleet.trip(name)
    transport = BreakerTransport(
        coordinator, httpx.MockTransport(lambda _: httpx.Response(200)), circuits=circuits
    )
    with httpx.Client(transport=transport) as client:
        response = client.get(URL, headers={"Authorization": "key"})
        assert response.extensions["breaker"].name == name
        assert response.extensions["breaker"].state is State.OPEN
        fleet.trip("openai")
        response = client.get(URL, headers={"Authorization": "key"})
        assert response.extensions["breaker"].name == "openai"


def test_in_a_mapping_and_for_one_request(fleet: Fleet) -> None:
    coordinator = fleet.coordinator()
    scoped = Scoped("openai", "openai#ab12", key_statuses={418})
    teapot = httpx.MockTransport(lambda _: httpx.Response(418))
    mapped = BreakerTransport(coordinator, teapot, circuits={"api.example.com": scoped})
    with httpx.Client(transport=mapped) as client:
        assert client.get(URL).status_code == 418
    fleet.advance()
    assert coordinator.breaker("openai#ab12").state is State.OPEN
    with httpx.Client(transport=BreakerTransport(coordinator, teapot)) as client:
        assert client.get(URL, extensions={"breaker": scoped}).status_code == 503


def test_a_redirect_goes_on_in_the_trial_of_a_key(fleet: Fleet) -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        if request.url.path == "/":
            return httpx.Response(307, headers={"Location": "/moved"})
        return httpx.Response(200)

    coordinator = fleet.coordinator()
    _, key = breakers(coordinator, "key")
    half_open(fleet, key)
    transport = BreakerTransport(coordinator, httpx.MockTransport(answer), circuits=circuits)
    with httpx.Client(transport=transport, follow_redirects=True) as client:
        assert client.get(URL, headers={"Authorization": "key"}).status_code == 200


def test_through_requests(fleet: Fleet) -> None:
    class Limited(BaseAdapter):
        def send(self, request: requests.PreparedRequest, *_: Any, **__: Any) -> Any:
            response = requests.Response()
            response.status_code = 429
            response.raw = HTTPResponse(BytesIO(b"{}"), status=429, preload_content=False)
            response.request = request
            return response

        def close(self) -> None: ...

    coordinator = fleet.coordinator()
    provider, key = breakers(coordinator, "key")
    with requests.Session() as session:
        session.mount("https://", BreakerAdapter(coordinator, Limited(), circuits=circuits))
        assert session.get(URL, headers={"Authorization": "key"}).status_code == 429
        fleet.advance()
        assert [provider.state, key.state] == [State.CLOSED, State.OPEN]
        assert session.get(URL, headers={"Authorization": "key"}).status_code == 503


async def test_a_cancelled_call_returns_both_permits(fleet: Fleet) -> None:
    class Hanging(httpx.AsyncBaseTransport):
        async def handle_async_request(self, _: httpx.Request) -> httpx.Response:
            await asyncio.sleep(3600)
            raise AssertionError

    coordinator = fleet.coordinator()
    provider, key = breakers(coordinator, "key")
    half_open(fleet, provider)
    transport = BreakerTransport(coordinator, Hanging(), circuits=circuits)
    async with httpx.AsyncClient(transport=transport) as client:
        for _ in range(2):
            call = asyncio.create_task(client.get(URL, headers={"Authorization": "key"}))
            await asyncio.sleep(0.01)
            call.cancel()
            with pytest.raises(asyncio.CancelledError):
                await call
            fleet.advance(0.1)
    provider.acquire().record(Outcome.SUCCESS)
    key.acquire().record(Outcome.SUCCESS)
    fleet.advance()
    assert provider.state is State.CLOSED


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["a", "b", "c"]), st.sampled_from([200, 404, 401, 402, 403, 429])
        ),
        max_size=30,
    )
)
def test_keys_never_move_the_circuit_of_the_provider_nor_each_other(
    calls: list[tuple[str, int]],
) -> None:
    answers: list[int] = []
    transport = httpx.MockTransport(lambda _: httpx.Response(answers.pop()))
    with Fleet(policy=POLICY) as fleet:
        coordinator = fleet.coordinator()
        provider, *_ = breakers(coordinator)
        guarded = BreakerTransport(coordinator, transport, circuits=circuits)
        hit: set[str] = set()
        with httpx.Client(transport=guarded) as client:
            for key, status in calls:
                answers[:] = [status]
                got = client.get(URL, headers={"Authorization": key}).status_code
                assert got == (503 if key in hit else status)
                if status in (401, 402, 403, 429):
                    hit.add(key)
                fleet.advance()
        assert provider.generation == 0
        assert provider.state is State.CLOSED


class TestNames:
    def test_a_keys_name_is_a_digest_of_it(self) -> None:
        name = key_name("openai", "Bearer sk-proj-secret")
        digest = hashlib.sha256(b"Bearer sk-proj-secret").hexdigest()
        assert name == f"openai#{digest[:16]}"
        assert key_name("openai", b"Bearer sk-proj-secret") == name
        Scoped("openai", name)

    @given(st.text(min_size=1, max_size=9), st.text(min_size=1, max_size=9))
    def test_other_keys_have_other_names(self, one: str, other: str) -> None:
        assert (key_name("openai", one) == key_name("openai", other)) is (one == other)

    @given(st.binary(min_size=1))
    def test_every_digest_is_accepted(self, key: bytes) -> None:
        Scoped("openai", key_name("openai", key))

    @pytest.mark.parametrize(
        "key",
        [
            "openai#sk-proj-1234567890",
            "Bearer abc",
            "openai#ghp_16C7e42F292c6912E7",
            "anthropic#AKIAIOSFODNN7EXAMPLE",
            "openai#aB3dE5fG7hI9jK1lM3nO5pQ7",
        ],
    )
    def test_what_looks_like_a_key_is_refused_without_being_shown(self, key: str) -> None:
        with pytest.raises(ValueError, match="key_name") as refused:
            Scoped("openai", key)
        assert key not in str(refused.value)

    @pytest.mark.parametrize(
        ("make", "error"),
        [
            (lambda: Scoped("", "openai#1"), ValueError),
            (lambda: Scoped("openai", "openai"), ValueError),
            (lambda: Scoped("openai", ""), ValueError),
            (lambda: Scoped("openai", 7), TypeError),
            (lambda: Scoped("openai", "openai#1", key_statuses=429), TypeError),
            (lambda: Scoped("openai", "openai#1", key_statuses="429"), TypeError),
            (lambda: Scoped("openai", "openai#1", key_statuses={"429"}), TypeError),
            (lambda: Scoped("openai", "openai#1", key_statuses={200}), ValueError),
            (lambda: Scoped("openai", "openai#1", key_statuses=set()), ValueError),
            (lambda: key_name("openai", ""), ValueError),
            (lambda: key_name("openai", None), TypeError),
            (lambda: key_name("", "key"), ValueError),
        ],
        ids=map(str, range(12)),
    )
    def test_other_settings_are_refused(
        self, make: Callable[[], object], error: type[Exception]
    ) -> None:
        with pytest.raises(error):
            make()
