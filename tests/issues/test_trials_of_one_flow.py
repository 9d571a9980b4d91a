"""A client sends several requests for one call: redirects, challenges, tokens. A trial call was let
through, answered with a redirect to its own host, and the second request got a 503: the circuit
could not be used as long as it was half-open, and its trial call ended in a rejection."""

from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest
from httpx_retries import Retry, RetryTransport

from tests.http.circuits import half_open
from tests.http.clients import KINDS, Kind
from tests.http.either import over, use
from zenvark_web import (
    BreakerPolicy,
    BreakerTransport,
    ConsecutiveFailures,
    ConstantBackoff,
    Coordinator,
    State,
)
from zenvark_web.testing import Fleet

NAME = "api.example.com"
URL = f"https://{NAME}/start"
POLICY = BreakerPolicy(strategy=ConsecutiveFailures(3), backoff=ConstantBackoff(1))
CHALLENGE = {"WWW-Authenticate": 'Digest realm="x", qop="auth", nonce="n", algorithm="MD5"'}


@pytest.fixture
def fleet() -> Iterator[Fleet]:
    with Fleet(policy=POLICY) as running:
        yield running


@pytest.fixture
def coordinator(fleet: Fleet) -> Coordinator:
    return fleet.coordinator()


class Upstream:
    """Answers as told, and counts."""

    def __init__(self, kind: Kind, answers: dict[str, Callable[[Any], tuple[int, Any]]]) -> None:
        self.asked: list[str] = []

        def answer(request: Any) -> Any:
            self.asked.append(request.url.path)
            status, headers = answers[request.url.path](request)
            return kind.library.Response(status, headers=headers)

        self.transport = kind.library.MockTransport(answer)


def redirect(to: str, status: int = 307) -> Callable[[Any], tuple[int, Any]]:
    return lambda _: (status, {"Location": to})


def ok(_: Any) -> tuple[int, Any]:
    return 200, {}


def challenged(request: Any) -> tuple[int, Any]:
    return (200, {}) if "authorization" in request.headers else (401, CHALLENGE)


def challenged_then_redirected(request: Any) -> tuple[int, Any]:
    answer = challenged(request)
    return answer if answer[0] == 401 else redirect("/end")(request)


def token_auth(kind: Kind, first: bool) -> Any:
    """Gets a token from the same host, before the request or when that was refused."""

    class Auth(kind.library.Auth):  # type: ignore[misc, name-defined]
        def auth_flow(self, request: Any) -> Any:
            if not first:
                response = yield request
                if response.status_code != 401:
                    return
            yield kind.library.Request("POST", f"https://{NAME}/token")
            request.headers["Authorization"] = "Bearer token"
            yield request

    return Auth()


FLOWS: dict[str, tuple[dict[str, Any], Callable[[Kind], dict[str, Any]], list[str]]] = {
    "redirect": ({"/start": redirect("/end"), "/end": ok}, lambda _: {}, ["/start", "/end"]),
    "redirects": (
        {"/start": redirect("/a", 302), "/a": redirect("/b", 303), "/b": redirect("/end")}
        | {"/end": ok},
        lambda _: {},
        ["/start", "/a", "/b", "/end"],
    ),
    "digest": (
        {"/start": challenged},
        lambda kind: {"auth": kind.library.DigestAuth("user", "secret")},
        ["/start", "/start"],
    ),
    "token first": (
        {"/start": ok, "/token": ok},
        lambda kind: {"auth": token_auth(kind, first=True)},
        ["/token", "/start"],
    ),
    "token when refused": (
        {"/start": challenged, "/token": ok},
        lambda kind: {"auth": token_auth(kind, first=False)},
        ["/start", "/token", "/start"],
    ),
    "challenge, then redirect": (
        {"/start": challenged_then_redirected, "/end": ok},
        lambda kind: {"auth": kind.library.DigestAuth("user", "secret")},
        ["/start", "/start", "/end"],
    ),
}


@pytest.mark.parametrize("kind", KINDS, ids=str)
@pytest.mark.parametrize("flow", FLOWS)
def test_a_flow_that_was_let_through_is_served(
    fleet: Fleet, coordinator: Coordinator, kind: Kind, flow: str
) -> None:
    answers, settings, steps = FLOWS[flow]
    upstream = Upstream(kind, answers)
    half_open(fleet, coordinator.breaker(NAME))
    transport = kind.guarded(coordinator, upstream.transport, when_open="raise")

    async def work(client: Any) -> None:
        response = await over(client.get(URL, follow_redirects=True, **settings(kind)))
        assert response.status_code == 200

    use(kind, transport, work)
    assert upstream.asked == steps
    fleet.advance()
    breaker = coordinator.breaker(NAME)
    assert breaker.state is State.CLOSED
    assert sum(breaker.successes.counts) == 1, "one permit, one result"


@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_another_call_is_another_flow(fleet: Fleet, coordinator: Coordinator, kind: Kind) -> None:
    """Though it comes from the same task, and even if it has the same request."""
    upstream = Upstream(kind, {"/start": redirect("/end"), "/end": ok})
    half_open(fleet, coordinator.breaker(NAME))
    transport = kind.guarded(coordinator, upstream.transport)

    async def work(client: Any) -> None:
        assert (await over(client.get(URL, follow_redirects=True))).status_code == 200
        assert (await over(client.get(URL, follow_redirects=True))).status_code == 503

    use(kind, transport, work)
    assert upstream.asked == ["/start", "/end"]


@pytest.mark.parametrize("kind", KINDS, ids=str)
@pytest.mark.parametrize("flow", ["plain", "digest", "redirect"])
def test_a_request_that_is_sent_again_is_another_flow(kind: Kind, flow: str) -> None:
    """A client that polls with one request object let no other use the second permit, and the
    circuit stayed half-open, with all its requests sent as further ones of the first."""
    answers, settings, steps = {"plain": ({"/start": ok}, lambda _: {}, ["/start"]), **FLOWS}[flow]
    policy = BreakerPolicy(
        strategy=ConsecutiveFailures(3), backoff=ConstantBackoff(1), trial_calls=2
    )
    with Fleet(policy=policy) as fleet:
        coordinator = fleet.coordinator()
        breaker = coordinator.breaker(NAME)
        upstream = Upstream(kind, answers)
        half_open(fleet, breaker)

        async def work(client: Any) -> None:
            request = client.build_request("GET", URL)
            for _ in range(2):
                response = await over(client.send(request, follow_redirects=True, **settings(kind)))
                assert response.status_code == 200

        use(kind, kind.guarded(coordinator, upstream.transport, when_open="raise"), work)
        # What a digest has put into the request is good for the second time as well.
        assert upstream.asked == (["/start"] * 3 if flow == "digest" else steps * 2)
        fleet.advance()
        assert breaker.state is State.CLOSED
        assert sum(breaker.successes.counts) == 2, "a permit each"


@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_a_request_that_is_sent_again_takes_no_more_permits_than_there_are(
    fleet: Fleet, coordinator: Coordinator, kind: Kind
) -> None:
    """With one permit, its second time is rejected, as that of any other request: with a client, or
    a transport by itself."""
    upstream = Upstream(kind, {"/start": ok})
    half_open(fleet, coordinator.breaker(NAME))
    transport = kind.guarded(coordinator, upstream.transport)
    alone = transport.handle_request if kind.sync else transport.handle_async_request

    async def work(client: Any) -> None:
        request = client.build_request("GET", URL)
        assert (await over(client.send(request))).status_code == 200
        assert (await over(client.send(request))).status_code == 503
        assert (await over(alone(request))).status_code == 503

    use(kind, transport, work)
    assert upstream.asked == ["/start"]


@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_without_a_client_the_very_same_again_is_another_flow(
    fleet: Fleet, coordinator: Coordinator, kind: Kind
) -> None:
    upstream = Upstream(kind, {"/start": ok})
    half_open(fleet, coordinator.breaker(NAME))
    transport = kind.guarded(coordinator, upstream.transport)
    send = transport.handle_request if kind.sync else transport.handle_async_request

    async def work(_: Any) -> None:
        request = kind.library.Request("GET", URL)
        assert (await over(send(request))).status_code == 200
        assert (await over(send(request))).status_code == 503

    use(kind, transport, work)


@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_a_step_that_fails_counts(fleet: Fleet, coordinator: Coordinator, kind: Kind) -> None:
    upstream = Upstream(kind, {"/start": redirect("/end"), "/end": lambda _: (500, {})})
    breaker = coordinator.breaker(NAME)
    half_open(fleet, breaker)
    before = sum(breaker.failures.counts)

    async def work(client: Any) -> None:
        assert (await over(client.get(URL, follow_redirects=True))).status_code == 500

    use(kind, kind.guarded(coordinator, upstream.transport), work)
    fleet.advance()
    assert sum(breaker.failures.counts) == before + 1
    assert breaker.state is State.OPEN


async def test_a_trial_that_fails_is_not_tried_again(
    fleet: Fleet, coordinator: Coordinator
) -> None:
    """Retries are no steps of a flow that was served."""
    asked: list[str] = []

    def answer(request: httpx.Request) -> httpx.Response:
        asked.append(request.url.path)
        return httpx.Response(500)

    half_open(fleet, coordinator.breaker(NAME))
    guarded = BreakerTransport(coordinator, httpx.MockTransport(answer))
    retry = Retry(
        total=3, backoff_factor=0, status_forcelist=[500, 503], respect_retry_after_header=False
    )
    async with httpx.AsyncClient(transport=RetryTransport(guarded, retry)) as client:
        assert (await client.get(URL)).status_code == 503
    assert asked == ["/start"]


@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_a_redirect_to_an_open_circuit_is_rejected(
    fleet: Fleet, coordinator: Coordinator, kind: Kind
) -> None:
    upstream = Upstream(kind, {"/start": redirect("https://other.example.com/end"), "/end": ok})
    fleet.trip("other.example.com")
    half_open(fleet, coordinator.breaker(NAME))

    async def work(client: Any) -> Any:
        return await over(client.get(URL, follow_redirects=True))

    response = use(kind, kind.guarded(coordinator, upstream.transport), work)
    assert response.extensions["breaker"].name == "other.example.com"
    assert upstream.asked == ["/start"]


@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_without_a_client_the_request_itself_is_the_flow(
    fleet: Fleet, coordinator: Coordinator, kind: Kind
) -> None:
    """Other packages use transports by themselves."""
    upstream = Upstream(kind, {"/start": challenged})
    half_open(fleet, coordinator.breaker(NAME))
    transport = kind.guarded(coordinator, upstream.transport)
    send = transport.handle_request if kind.sync else transport.handle_async_request

    async def work(_: Any) -> None:
        request = kind.library.Request("GET", URL)
        assert (await over(send(request))).status_code == 401
        request.headers["Authorization"] = "x"
        assert (await over(send(request))).status_code == 200
        other = kind.library.Request("GET", URL)
        assert (await over(send(other))).status_code == 503

    use(kind, transport, work)
