"""Clocks for streams and `judge_chunk` through the adapter for requests."""

from collections.abc import Iterator
from typing import Any

import pytest
import requests

from tests.helpers.waiting import PATIENCE
from tests.http import server
from tests.http.backstage import Backstage, backstage
from tests.http.scenarios import EVENTS, SHORT, TOKENS, judge_errors
from zenvark_web import BreakerPolicy, ConsecutiveFailures, Coordinator
from zenvark_web.requests import BreakerAdapter

ERROR = b"data: error\n\n"


@pytest.fixture(scope="module")
def stage() -> Iterator[Backstage]:
    with backstage() as running:
        yield running


def start(stage: Backstage, first_chunk: float | None = None) -> Coordinator:
    policy = BreakerPolicy(strategy=ConsecutiveFailures(1_000), first_chunk=first_chunk)
    return stage.start(policy)


def get(stage: Backstage, coordinator: Coordinator, **settings: Any) -> requests.Response:
    """A response whose body is still to come."""
    adapter = BreakerAdapter(coordinator, circuits=lambda _: "tokens", **settings)
    session = requests.Session()
    session.trust_env = False
    session.mount("http://", adapter)
    return session.get(stage.upstream.url, stream=True, timeout=PATIENCE)


def test_late_first_chunk_is_a_failure_that_counts_once(stage: Backstage) -> None:
    coordinator = start(stage, first_chunk=SHORT)
    breaker = coordinator.breaker("tokens")
    stage.set(server.held(EVENTS, TOKENS[0]))
    stage.let_go_when_counted(breaker)
    assert list(get(stage, coordinator).iter_lines()) == TOKENS[0].splitlines()
    assert stage.counts(breaker) == (0, 1)


@pytest.mark.parametrize(("event", "expected"), [(ERROR, (0, 1)), (TOKENS[1], (1, 0))])
def test_decoded_lines_are_judged(
    stage: Backstage, event: bytes, expected: tuple[int, int]
) -> None:
    coordinator = start(stage, first_chunk=PATIENCE)
    stage.set(server.in_parts(EVENTS, TOKENS[0], event))
    response = get(stage, coordinator, judge_chunk=judge_errors)
    assert response.content == TOKENS[0] + event
    assert stage.counts(coordinator.breaker("tokens")) == expected


def test_bytes_that_are_read_undecoded_are_not_judged(stage: Backstage) -> None:
    coordinator = start(stage)
    stage.set(server.in_parts(EVENTS, ERROR))
    response = get(stage, coordinator, judge_chunk=judge_errors)
    assert b"".join(iter(lambda: response.raw.read(4), b"")) == ERROR
    assert stage.counts(coordinator.breaker("tokens")) == (1, 0)
