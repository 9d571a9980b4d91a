"""HTTP calls of a circuit in a ramp: what one call of a client sends passes together."""

from collections.abc import Iterator
from contextlib import closing

import httpx
import pytest

from zenvark_web import BreakerPolicy, BreakerTransport, ConstantBackoff, State
from zenvark_web.testing import Fleet

POLICY = BreakerPolicy(backoff=ConstantBackoff(1), ramp=(0.5,), ramp_step=60)


@pytest.fixture
def fleet() -> Iterator[Fleet]:
    with Fleet(policy=POLICY) as fleet:
        yield fleet


def redirect(request: httpx.Request) -> httpx.Response:
    if request.url.path == "/":
        return httpx.Response(307, headers={"Location": "/moved"})
    return httpx.Response(200, stream=httpx.ByteStream(b"well"))


def climbing(fleet: Fleet) -> httpx.Client:
    """A client whose circuit is in a ramp."""
    coordinator = fleet.coordinator()
    breaker = coordinator.breaker("upstream")
    fleet.trip(breaker)
    fleet.down.clear()
    transport = BreakerTransport(coordinator, httpx.MockTransport(redirect))
    client = httpx.Client(transport=transport, follow_redirects=True)
    while not 0 < breaker.share < 1:
        client.get("http://upstream/moved")
        fleet.advance(0.5)
    assert breaker.state is State.HALF_OPEN
    return client


def test_a_redirect_passes_with_its_first_request(fleet: Fleet) -> None:
    with closing(climbing(fleet)) as client:
        statuses = [client.get("http://upstream/").status_code for _ in range(20)]
    assert statuses.count(200) == statuses.count(503) == 10


def test_each_request_of_the_client_is_a_call_of_its_own(fleet: Fleet) -> None:
    with closing(climbing(fleet)) as client:
        statuses = [client.get("http://upstream/moved").status_code for _ in range(20)]
        assert statuses.count(200) == statuses.count(503) == 10
        rejected = client.get("http://upstream/moved")
        if rejected.status_code == 200:
            rejected = client.get("http://upstream/moved")
        assert 50 < int(rejected.headers["Retry-After"]) <= 72, "the next step, spread a little"


def test_a_body_that_breaks_is_a_failure(fleet: Fleet) -> None:
    """A ramp is judged as a closed circuit, by the whole response, and not as a trial."""

    class Broken(httpx.SyncByteStream):
        def __iter__(self) -> Iterator[bytes]:
            yield b"well"
            raise httpx.ReadError("broken")

    coordinator = fleet.coordinator()
    breaker = coordinator.breaker("upstream")
    climbing(fleet).close()
    fleet.advance()
    assert 0 < breaker.share < 1
    transport = BreakerTransport(
        coordinator, httpx.MockTransport(lambda _: httpx.Response(200, stream=Broken()))
    )
    failures = 0
    with httpx.Client(transport=transport) as client:
        while failures < 5:
            try:
                client.get("http://upstream/")
            except httpx.ReadError:
                failures += 1
    fleet.advance()
    assert breaker.state is State.OPEN
