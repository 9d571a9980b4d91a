"""A trial call whose body lasts was taken for failed after 60 s, so that a circuit whose calls are
all event streams, or all long downloads, never closed again, though the upstream was well."""

from collections.abc import Iterator
from typing import Any

import pytest

from tests.helpers.spanning import spanning
from tests.http.circuits import half_open
from tests.http.clients import KINDS, Kind
from tests.http.either import body, over, sent, use
from zenvark_web import (
    BreakerPolicy,
    ConsecutiveFailures,
    ConstantBackoff,
    Coordinator,
    CountWindow,
    State,
)
from zenvark_web.testing import Fleet

# httpx and trio leave the generators of a body that is closed early to the garbage collector.
pytestmark = pytest.mark.filterwarnings("ignore:Async generator .* was garbage collected")

NAME = "events.example.com"
URL = f"https://{NAME}/"
EVENTS = "text/event-stream"
POLICY = BreakerPolicy(strategy=ConsecutiveFailures(3), backoff=ConstantBackoff(1), slow_call=5)
SPELLINGS = [EVENTS, f"{EVENTS}; charset=utf-8", "Text/Event-Stream"]


@pytest.fixture
def fleet() -> Iterator[Fleet]:
    with Fleet(policy=POLICY) as running:
        yield running


@pytest.fixture
def coordinator(fleet: Fleet) -> Coordinator:
    return fleet.coordinator()


def pings(*, until: Exception | None = None) -> Iterator[bytes]:
    for _ in range(1000):
        yield b": ping\n\n"
    if until is not None:
        raise until


def upstream(kind: Kind, content_type: str, until: Exception | None = None) -> Any:
    def answer(_: Any) -> Any:
        content = body(kind, lambda: pings(until=until))
        return kind.library.Response(200, headers={"content-type": content_type}, content=content)

    return kind.library.MockTransport(answer)


@pytest.mark.parametrize("kind", KINDS, ids=str)
@pytest.mark.parametrize("content_type", [EVENTS, "application/octet-stream"])
def test_the_headers_of_a_trial_call_close_the_circuit(
    fleet: Fleet, coordinator: Coordinator, kind: Kind, content_type: str
) -> None:
    """Whatever becomes of the body; nothing else would ever tell that the upstream is back."""
    breaker = coordinator.breaker(NAME)
    half_open(fleet, breaker)

    async def work(client: Any) -> None:
        response = await sent(client, URL)
        fleet.advance()
        assert breaker.state is State.CLOSED
        chunks = response.iter_raw() if kind.sync else response.aiter_raw()
        for _ in range(90):
            fleet.advance(1)
            await over(next(chunks) if kind.sync else anext(chunks))
        assert breaker.state is State.CLOSED
        await over(chunks.close() if kind.sync else chunks.aclose())
        await over(response.close() if kind.sync else response.aclose())

    use(kind, kind.guarded(coordinator, upstream(kind, content_type)), work)
    fleet.advance()
    assert breaker.state is State.CLOSED
    assert sum(breaker.successes.counts) == 1


@pytest.mark.parametrize("kind", KINDS, ids=str)
@pytest.mark.parametrize("content_type", spanning(SPELLINGS, SPELLINGS[:1]))
@pytest.mark.parametrize("how", ["RemoteProtocolError", "ReadError", "ReadTimeout"])
def test_event_streams_that_end_badly_open_nothing(
    fleet: Fleet, coordinator: Coordinator, kind: Kind, content_type: str, how: str
) -> None:
    """A proxy cuts them after a while, or an idle one times out."""
    breaker = coordinator.breaker(NAME)
    error = getattr(kind.library, how)("cut")

    async def work(client: Any) -> None:
        for number in range(3):
            response = await sent(client, URL)
            fleet.advance()
            assert sum(breaker.successes.counts) == number + 1, "it counts at its start"
            fleet.advance(70)
            with pytest.raises(kind.library.TransportError):
                await over(response.read() if kind.sync else response.aread())

    use(kind, kind.guarded(coordinator, upstream(kind, content_type, error)), work)
    fleet.advance()
    assert breaker.state is State.CLOSED
    assert sum(breaker.failures.counts) == 0


@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_other_bodies_that_break_are_failures(
    fleet: Fleet, coordinator: Coordinator, kind: Kind
) -> None:
    breaker = coordinator.breaker(NAME)
    error = kind.library.ReadError("cut")

    async def work(client: Any) -> None:
        for _ in range(3):
            with pytest.raises(kind.library.ReadError):
                await over(client.get(URL))

    use(kind, kind.guarded(coordinator, upstream(kind, "text/plain", error)), work)
    fleet.advance()
    assert breaker.state is State.OPEN


@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_neither_the_length_of_a_body_nor_its_reader_makes_a_call_slow(
    fleet: Fleet, kind: Kind
) -> None:
    policy = BreakerPolicy(strategy=CountWindow(10, 0.5, 2, slow_rate=0.5), slow_call=5)
    coordinator = fleet.coordinator(policy=policy)
    breaker = coordinator.breaker(NAME)

    async def work(client: Any) -> None:
        for _ in range(5):
            response = await sent(client, URL)
            fleet.advance(60)
            await over(response.read() if kind.sync else response.aread())

    use(kind, kind.guarded(coordinator, upstream(kind, "text/plain")), work)
    fleet.advance()
    assert breaker.state is State.CLOSED
    assert breaker.successes.total < 5
