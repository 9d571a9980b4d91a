"""`judge_chunk`: outcomes that an event stream tells after its headers."""

import gzip
import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.http.circuits import counts
from tests.http.clients import KINDS, Kind
from tests.http.either import body, sent, use
from zenvark_web import (
    Breaker,
    BreakerPolicy,
    BreakerTransport,
    CircuitRoute,
    ClassifierError,
    ConsecutiveFailures,
    Coordinator,
    Outcome,
)
from zenvark_web.testing import Fleet

NAME = "tokens.example.com"
URL = f"https://{NAME}/"
EVENTS = {"content-type": "text/event-stream; charset=utf-8"}
POLICY = BreakerPolicy(strategy=ConsecutiveFailures(1_000))
GOOD = b'event: delta\ndata: {"text": "hi"}\n\n'
BAD = b'event: error\ndata: {"type": "error"}\n\n'


@pytest.fixture
def errors() -> list[Exception]:
    return []


@pytest.fixture
def fleet() -> Iterator[Fleet]:
    with Fleet(policy=POLICY) as running:
        yield running


@pytest.fixture
def coordinator(fleet: Fleet, errors: list[Exception]) -> Coordinator:
    return fleet.coordinator(on_error=errors.append)


@pytest.fixture
def breaker(coordinator: Coordinator) -> Breaker:
    return coordinator.breaker(NAME)


def judge(line: bytes) -> Outcome | None:
    """Take an event for a failure that says so."""
    return Outcome.FAILURE if json.loads(line).get("type") == "error" else None


def read(
    kind: Kind,
    coordinator: Coordinator,
    *chunks: bytes,
    headers: dict[str, str] = EVENTS,
    own: object = None,
    **settings: Any,
) -> bytes:
    """Read a body in these chunks, undecoded.

    Args:
        kind: The client's.
        coordinator: The coordinator.
        *chunks: The chunks.
        headers: Those of the response.
        own: The request's own settings.
        **settings: The transport's.
    """

    def answer(_: Any) -> Any:
        content = body(kind, lambda: iter(chunks))
        return kind.library.Response(200, headers=headers, content=content)

    async def work(client: Any) -> bytes:
        extensions = {} if own is None else {"breaker": own}
        response = await sent(client, URL, extensions=extensions)
        if kind.sync:
            return b"".join(response.iter_raw())
        return b"".join([chunk async for chunk in response.aiter_raw()])

    inner = kind.library.MockTransport(answer)
    found: bytes = use(kind, kind.guarded(coordinator, inner, **settings), work)
    return found


@pytest.mark.parametrize("kind", KINDS, ids=str)
class TestOutcomes:
    def test_of_an_error_event(
        self, fleet: Fleet, coordinator: Coordinator, breaker: Breaker, kind: Kind
    ) -> None:
        assert read(kind, coordinator, GOOD, BAD, GOOD, judge_chunk=judge) == GOOD + BAD + GOOD
        fleet.advance()
        assert counts(breaker) == (0, 1)
        assert breaker.failure_kinds["status"] == 1

    def test_of_none(
        self, fleet: Fleet, coordinator: Coordinator, breaker: Breaker, kind: Kind
    ) -> None:
        read(kind, coordinator, GOOD, GOOD, judge_chunk=judge)
        fleet.advance()
        assert counts(breaker) == (1, 0)


@pytest.mark.parametrize(
    ("told", "expected"),
    [
        (Outcome.SUCCESS, (1, 0)),
        (Outcome.FAILURE, (0, 1)),
        (Outcome.IGNORED, (0, 0)),
        (Outcome.ANSWERED, (0, 0)),
    ],
)
def test_first_outcome_applies(
    fleet: Fleet,
    coordinator: Coordinator,
    breaker: Breaker,
    told: Outcome,
    expected: tuple[int, int],
) -> None:
    asked: list[bytes] = []

    def first(line: bytes) -> Outcome:
        asked.append(line)
        return told

    read(KINDS[0], coordinator, b"data: 1\ndata: 2\n", b"data: 3\n", judge_chunk=first)
    fleet.advance()
    assert counts(breaker) == expected
    assert asked == [b"1"]


@pytest.mark.parametrize(
    ("headers", "chunks"),
    [
        ({"content-type": "application/json"}, [BAD]),
        ({**EVENTS, "content-encoding": "gzip"}, [gzip.compress(BAD)]),
        (EVENTS, [b"data:" + b"x" * 70_000 + b'"error"\n']),
        (EVENTS, [b": " + BAD.replace(b"\n", b""), b"\nretry: 3\n"]),
    ],
    ids=["no event stream", "encoded", "too long", "no data"],
)
def test_what_is_not_judged(
    fleet: Fleet,
    coordinator: Coordinator,
    breaker: Breaker,
    headers: dict[str, str],
    chunks: list[bytes],
) -> None:
    def refuse(line: bytes) -> Outcome:
        return Outcome.FAILURE

    read(KINDS[0], coordinator, *chunks, headers=headers, judge_chunk=refuse)
    fleet.advance()
    assert counts(breaker) == (1, 0)


def test_exceptions_are_reported_and_ignored(
    fleet: Fleet, coordinator: Coordinator, breaker: Breaker, errors: list[Exception]
) -> None:
    passed = read(KINDS[0], coordinator, b"data: no json\n\n", BAD, judge_chunk=judge)
    fleet.advance()
    assert passed == b"data: no json\n\n" + BAD
    assert counts(breaker) == (0, 1)
    [error] = errors
    assert isinstance(error, ClassifierError)
    assert isinstance(error.__cause__, json.JSONDecodeError)
    assert "judge_chunk 'judge' failed for GET" in str(error)


def test_anything_but_an_outcome_is_an_error(
    fleet: Fleet, coordinator: Coordinator, breaker: Breaker, errors: list[Exception]
) -> None:
    wrong: Any = lambda line: True  # noqa: E731
    read(KINDS[0], coordinator, GOOD, judge_chunk=wrong)
    fleet.advance()
    assert counts(breaker) == (1, 0)
    assert "must return an Outcome or None, not True" in str(errors[0].__cause__)


class TestWhereItIsSet:
    def test_on_a_route(self, fleet: Fleet, coordinator: Coordinator, breaker: Breaker) -> None:
        routes = {"*": CircuitRoute(NAME, judge_chunk=judge)}
        read(KINDS[0], coordinator, BAD, circuits=routes)
        fleet.advance()
        assert counts(breaker) == (0, 1)

    @pytest.mark.parametrize(("own", "expected"), [(judge, (0, 1)), (None, (1, 0))])
    def test_on_a_request(
        self,
        fleet: Fleet,
        coordinator: Coordinator,
        breaker: Breaker,
        own: object,
        expected: tuple[int, int],
    ) -> None:
        def passes(line: bytes) -> Outcome:
            return Outcome.IGNORED

        read(KINDS[0], coordinator, BAD, own={"judge_chunk": own}, judge_chunk=passes)
        fleet.advance()
        assert counts(breaker) == expected

    @pytest.mark.parametrize(
        "wrong", ["name", bytes, lambda: None], ids=["a name", "a class", "no argument"]
    )
    def test_unusable_ones_are_refused(self, coordinator: Coordinator, wrong: Any) -> None:
        with pytest.raises(TypeError, match="judge_chunk"):
            BreakerTransport(coordinator, judge_chunk=wrong)
        with pytest.raises(TypeError, match="judge_chunk"):
            CircuitRoute(NAME, judge_chunk=wrong)

    def test_an_async_function_is_refused(self, coordinator: Coordinator) -> None:
        async def later(line: bytes) -> None: ...

        wrong: Any = later
        with pytest.raises(TypeError, match="plain function"):
            BreakerTransport(coordinator, judge_chunk=wrong)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=50)
@given(st.lists(st.binary(max_size=20) | st.sampled_from([GOOD, BAD, b"data:", b"\r", b"\n"])))
@pytest.mark.parametrize("kind", [KINDS[0], KINDS[2]], ids=str)
def test_no_byte_is_altered(coordinator: Coordinator, kind: Kind, chunks: list[bytes]) -> None:
    """Whatever the chunks are, and whatever the judge thinks of them."""
    judges: list[Callable[[bytes], Outcome | None]] = [judge, lambda _: Outcome.FAILURE]
    for each in judges:
        assert read(kind, coordinator, *chunks, judge_chunk=each) == b"".join(chunks)
