"""Nine 401 or 404 in ten ended every streak and kept every rate low: the circuit stayed closed
while all other calls failed. An answer of that kind tells only that there is an upstream."""

from collections.abc import Iterator
from typing import Any

import pytest

from tests.helpers.spanning import spanning
from tests.http.circuits import counts, half_open
from tests.http.clients import KINDS, Kind
from tests.http.either import over, use
from zenvark_web import (
    BreakerPolicy,
    ConsecutiveFailures,
    Coordinator,
    CountWindow,
    HttpClassifier,
    State,
    Strategy,
    TimeWindow,
)
from zenvark_web.testing import Fleet

NAME = "api.example.com"
URL = f"https://{NAME}/"
STRATEGIES: list[Strategy] = [
    ConsecutiveFailures(5),
    CountWindow(20, 0.5, 5),
    TimeWindow(10, 0.5, 5),
]


def answering(kind: Kind, statuses: Iterator[int]) -> Any:
    return kind.library.MockTransport(lambda _: kind.library.Response(next(statuses)))


def play(kind: Kind, coordinator: Coordinator, statuses: list[int], **settings: Any) -> None:
    transport = kind.guarded(coordinator, answering(kind, iter(statuses)), **settings)

    async def work(client: Any) -> None:
        for _ in statuses:
            await over(client.get(URL))

    use(kind, transport, work)


@pytest.mark.parametrize("kind", KINDS, ids=str)
@pytest.mark.parametrize("strategy", STRATEGIES, ids=lambda strategy: type(strategy).__name__)
@pytest.mark.parametrize("status", spanning([400, 401, 403, 404, 422], {400, 404}))
def test_nine_in_ten_of_them_hide_no_outage(kind: Kind, strategy: Strategy, status: int) -> None:
    with Fleet(policy=BreakerPolicy(strategy=strategy)) as fleet:
        coordinator = fleet.coordinator()
        play(kind, coordinator, [*[status] * 9, 500] * 5)
        fleet.advance()
        assert coordinator.breaker(NAME).state is State.OPEN


@pytest.mark.parametrize("status", [400, 401, 403, 404, 451])
def test_a_trial_passes_by_one(status: int) -> None:
    kind = KINDS[0]
    with Fleet(policy=BreakerPolicy(strategy=ConsecutiveFailures(3))) as fleet:
        coordinator = fleet.coordinator()
        half_open(fleet, coordinator.breaker(NAME))
        play(kind, coordinator, [status])
        fleet.advance()
        assert coordinator.breaker(NAME).state is State.CLOSED


@pytest.mark.parametrize("status", [408, 429])
def test_but_for_two_of_them(status: int) -> None:
    kind = KINDS[0]
    with Fleet(policy=BreakerPolicy(strategy=ConsecutiveFailures(3))) as fleet:
        coordinator = fleet.coordinator()
        play(kind, coordinator, [status] * 3)
        fleet.advance()
        assert coordinator.breaker(NAME).state is State.OPEN


def test_where_they_are_as_good_as_any_they_may_be_successes() -> None:
    kind = KINDS[0]
    with Fleet() as fleet:
        coordinator = fleet.coordinator()
        play(kind, coordinator, [404, 429], classify=HttpClassifier(answered_statuses=()))
        fleet.advance()
        assert counts(coordinator.breaker(NAME)) == (1, 1)


@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_slow_ones_are_slow_calls(kind: Kind) -> None:
    """An upstream that hangs before it refuses does not well, either."""
    policy = BreakerPolicy(strategy=CountWindow(10, 0.5, 3, slow_rate=0.5), slow_call=5)
    with Fleet(policy=policy) as fleet:
        coordinator = fleet.coordinator()

        def answer(_: Any) -> Any:
            fleet.advance(6)
            return kind.library.Response(404)

        async def work(client: Any) -> None:
            for _ in range(3):
                await over(client.get(URL))

        use(kind, kind.guarded(coordinator, kind.library.MockTransport(answer)), work)
        fleet.advance()
        assert coordinator.breaker(NAME).state is State.OPEN


def test_a_slow_one_passes_no_trial() -> None:
    kind = KINDS[0]
    policy = BreakerPolicy(strategy=ConsecutiveFailures(3), slow_call=5)
    with Fleet(policy=policy) as fleet:
        coordinator = fleet.coordinator()
        half_open(fleet, coordinator.breaker(NAME))

        def answer(_: Any) -> Any:
            fleet.advance(6)
            return kind.library.Response(404)

        async def work(client: Any) -> None:
            await over(client.get(URL))

        use(kind, kind.guarded(coordinator, kind.library.MockTransport(answer)), work)
        fleet.advance()
        assert coordinator.breaker(NAME).state is State.OPEN
