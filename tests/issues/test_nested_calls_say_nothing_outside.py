"""What a breaker further in answers says nothing to one further out: an open circuit opened the
next one, and so on outwards. And a circuit used within itself was half-open for ever."""

from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import pytest

from tests.http.circuits import counts, half_open
from tests.http.clients import KINDS, Kind
from tests.http.either import body, over, use
from zenvark_web import (
    BreakerPolicy,
    CircuitOpenError,
    ConsecutiveFailures,
    ConstantBackoff,
    Coordinator,
    FixedResponse,
    State,
)
from zenvark_web.testing import Fleet

POLICY = BreakerPolicy(strategy=ConsecutiveFailures(3), backoff=ConstantBackoff(1))
URL = "https://api.example.com/"


@pytest.fixture
def fleet() -> Iterator[Fleet]:
    with Fleet(policy=POLICY) as running:
        yield running


@pytest.fixture
def coordinator(fleet: Fleet) -> Coordinator:
    return fleet.coordinator()


def nested(kind: Kind, coordinator: Coordinator, upstream: Any, *names: str, **inner: Any) -> Any:
    """Transports inside each other, the outermost circuit first."""
    *outer, innermost = names
    transport = kind.guarded(coordinator, upstream, circuits=lambda _: innermost, **inner)
    for name in reversed(outer):
        transport = kind.guarded(coordinator, transport, circuits=lambda _, name=name: name)
    return transport


def well(kind: Kind, status: int = 200) -> Any:
    def answer(_: Any) -> Any:
        return kind.library.Response(status, content=body(kind, lambda: iter([b"hel", b"lo"])))

    return kind.library.MockTransport(answer)


INSTEAD: list[dict[str, Any]] = [
    {"when_open": "respond"},
    {"when_open": "raise"},
    {"fallback": FixedResponse("sorry", status=503)},
    {"fallback": FixedResponse("sorry")},
]


@pytest.mark.parametrize("kind", KINDS, ids=str)
@pytest.mark.parametrize("instead", INSTEAD, ids=["503", "error", "bad-stand-in", "stand-in"])
class TestOpenInside:
    def get(self, kind: Kind, coordinator: Coordinator, instead: dict[str, Any]) -> Any:
        transport = nested(kind, coordinator, well(kind), "outer", "middle", "inner", **instead)

        async def work(client: Any) -> Any:
            with suppress(CircuitOpenError):
                return await over(client.get(URL))

        return use(kind, transport, work)

    def test_says_nothing_to_those_around(
        self, fleet: Fleet, coordinator: Coordinator, kind: Kind, instead: dict[str, Any]
    ) -> None:
        fleet.trip("inner")
        for _ in range(5):
            response = self.get(kind, coordinator, instead)
            assert response is None or response.extensions["breaker"].name == "inner"
        fleet.advance()
        for name in ("outer", "middle"):
            assert coordinator.breaker(name).state is State.CLOSED
            assert counts(coordinator.breaker(name)) == (0, 0)

    def test_gives_back_the_permit_of_a_trial(
        self, fleet: Fleet, coordinator: Coordinator, kind: Kind, instead: dict[str, Any]
    ) -> None:
        outer = coordinator.breaker("outer")
        half_open(fleet, outer)
        fleet.trip("inner")
        fleet.advance(3)
        while outer.state is not State.HALF_OPEN:
            fleet.advance(0.25)
        for _ in range(3):
            self.get(kind, coordinator, instead)
        assert outer.state is State.HALF_OPEN
        fleet.recover("inner")
        while outer.state is not State.CLOSED:
            self.get(kind, coordinator, instead)
            fleet.advance(0.25)
            assert outer.state is not State.OPEN


@pytest.mark.parametrize("kind", KINDS, ids=str)
@pytest.mark.parametrize("depth", [2, 3])
@pytest.mark.parametrize("status", [200, 404, 500])
def test_one_circuit_in_several_transports_counts_once(
    fleet: Fleet,
    coordinator: Coordinator,
    kind: Kind,
    depth: int,
    status: int,
) -> None:
    transport = nested(kind, coordinator, well(kind, status), *["same"] * depth)

    async def work(client: Any) -> None:
        response = await over(client.get(URL))
        assert response.content == b"hello"

    use(kind, transport, work)
    fleet.advance()
    assert counts(coordinator.breaker("same")) == (int(status == 200), int(status == 500))


@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_one_circuit_in_several_transports_recovers(
    fleet: Fleet, coordinator: Coordinator, kind: Kind
) -> None:
    breaker = coordinator.breaker("same")
    half_open(fleet, breaker)
    transport = nested(kind, coordinator, well(kind), "same", "same")

    async def work(client: Any) -> None:
        assert (await over(client.get(URL))).status_code == 200

    use(kind, transport, work)
    fleet.advance()
    assert breaker.state is State.CLOSED
    assert counts(breaker)[0] == 1


@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_the_error_made_of_our_own_answer_is_a_rejection(
    fleet: Fleet, coordinator: Coordinator, kind: Kind
) -> None:
    """After a redirect, too: it is the answer to that which counts."""
    fleet.trip("inner.example.com")

    def redirect(_: Any) -> Any:
        return kind.library.Response(307, headers={"Location": "https://inner.example.com/"})

    page = coordinator.breaker("page")
    transport = kind.guarded(coordinator, kind.library.MockTransport(redirect))

    async def work(client: Any) -> None:
        async def handler() -> None:
            response = await over(client.get(URL, follow_redirects=True))
            assert response.history
            response.raise_for_status()

        for _ in range(5):
            with pytest.raises(kind.library.HTTPStatusError):
                await page.execute(handler)

    use(kind, transport, work)
    fleet.advance()
    assert page.state is State.CLOSED
    assert counts(page) == (0, 0)
