"""A setting of a wrong type is refused where it is passed in, with a message that names it."""

from typing import Any

import pytest
import redis
import redis.asyncio

from zenvark_web import (
    BreakerMiddleware,
    BreakerPolicy,
    BreakerTransport,
    ConsecutiveFailures,
    Coordinator,
    MemoryBackend,
    Outcome,
    PrometheusMetrics,
)


class Half:
    """Half a recorder of metrics."""

    def attach(self, coordinator: Coordinator) -> None: ...


POLICY = BreakerPolicy()
WRONG: dict[str, list[object]] = {
    "redis": [5, True, POLICY, MemoryBackend, b"redis://x", ["redis://x"], {"url": "x"}],
    "redis ": [redis.Redis, redis.asyncio.Redis],
    "policy": [None, BreakerPolicy, ConsecutiveFailures(3), {"payments": POLICY}],
    "policies": [POLICY, BreakerPolicy, [], 0, "", [("payments", POLICY)], {1: POLICY}],
    "policies ": [{"a": None}, {"a": BreakerPolicy}, {"a": ConsecutiveFailures(3)}],
    "metrics": [True, 0, "prometheus", PrometheusMetrics, Half()],
    "on_error": [5, "print", lambda: None, lambda error, circuit: None],
    "on_state_change": [5, lambda: None],
    "on_role_change": [[], lambda *, role: None],
    "namespace": [None, 5, b"shop"],
    "lease_ttl": [None, "2", True],
    "max_breakers": [None, "5", 1.5],
    "shards": [None, "2", 2.0, True],
}
CASES = [(name.strip(), value) for name, values in WRONG.items() for value in values]


@pytest.mark.parametrize(("name", "value"), CASES, ids=range(len(CASES)))
def test_of_a_coordinator(name: str, value: Any) -> None:
    said = "polic" if name == "policies" else name
    with pytest.raises(TypeError, match=said):
        Coordinator(**{name: value})


def test_a_synchronous_client() -> None:
    with redis.Redis() as client, pytest.raises(TypeError, match=r"a redis\.asyncio\.Redis"):
        Coordinator(client)  # type: ignore[arg-type]


@pytest.mark.parametrize("value", [5, "x", Outcome, lambda: Outcome.FAILURE], ids=range(4))
@pytest.mark.parametrize("name", ["classify", "fallback", "circuits"])
def test_of_a_transport(name: str, value: Any) -> None:
    with pytest.raises(TypeError, match=name):
        BreakerTransport(Coordinator(), **{name: value})


@pytest.mark.parametrize("value", ["x", Outcome, lambda: None], ids=range(3))
@pytest.mark.parametrize("name", ["routes", "fallback"])
def test_of_a_middleware(name: str, value: Any) -> None:
    async def app(*_: object) -> None: ...

    with pytest.raises(TypeError, match=name):
        BreakerMiddleware(app, Coordinator(), **{name: value})


@pytest.mark.parametrize("registry", [5, "x", PrometheusMetrics])
def test_of_metrics(registry: Any) -> None:
    with pytest.raises(TypeError, match="registry must be a CollectorRegistry"):
        PrometheusMetrics(registry)
