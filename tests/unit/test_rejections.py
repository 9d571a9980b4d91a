"""What is a rejection, and what of a group counts beside it."""

import asyncio
import contextvars
import gc
import weakref

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zenvark_web import CircuitOpenError, State
from zenvark_web._http.problem import BreakerStatus
from zenvark_web._rejections import (
    Rejections,
    collecting,
    leaves_that_count,
    rejected,
    rejection_in,
    told_by,
)


class Response:
    def __init__(self, extensions: object) -> None:
        self.extensions = extensions


class StatusError(Exception):
    """As both libraries and the SDKs built on them raise it."""

    def __init__(self, response: object) -> None:
        self.response = response


class AwkwardError(Exception):
    @property
    def response(self) -> object:
        raise RuntimeError("there is none")


OURS = Response({"breaker": BreakerStatus("payments", State.OPEN, 7.0)})


def chained(error: Exception, cause: BaseException) -> Exception:
    error.__cause__ = cause
    return error


REJECTIONS = [
    CircuitOpenError("payments", 7.0),
    StatusError(OURS),
    chained(OSError(), CircuitOpenError("payments", 7.0)),
    chained(OSError(), chained(OSError(), StatusError(OURS))),
    chained(OSError(), ExceptionGroup("", [CircuitOpenError("payments", 7.0)])),
]
OTHERS = [
    OSError(),
    KeyboardInterrupt(),
    asyncio.CancelledError(),
    AwkwardError(),
    StatusError(Response(None)),
    StatusError(Response({})),
    StatusError(Response({"breaker": "somebody else's"})),
    StatusError({"Error": {}}),
    chained(OSError(), KeyboardInterrupt()),
    chained(OSError(), ExceptionGroup("", [CircuitOpenError("payments", 7.0), OSError()])),
]


@pytest.mark.parametrize("error", REJECTIONS, ids=range(len(REJECTIONS)))
def test_rejections(error: Exception) -> None:
    found = rejection_in(error)
    assert found is not None
    assert (found.name, found.retry_after) == ("payments", 7.0)
    assert not list(leaves_that_count(error))


@pytest.mark.parametrize("error", OTHERS, ids=range(len(OTHERS)))
def test_others(error: BaseException) -> None:
    assert rejection_in(error) is None
    assert list(leaves_that_count(error)) == [error]


def grouped(leaves: st.SearchStrategy[BaseException]) -> st.SearchStrategy[BaseException]:
    return st.recursive(
        leaves,
        lambda inner: st.lists(inner, min_size=1, max_size=3).map(
            lambda errors: BaseExceptionGroup("", errors)
        ),
    )


@given(grouped(st.floats(0, 60).map(lambda wait: CircuitOpenError("payments", wait))))
def test_a_group_of_nothing_but_rejections_is_that_with_the_longest_wait(
    error: BaseException,
) -> None:
    waits = [leaf.retry_after for leaf in flat(error) if isinstance(leaf, CircuitOpenError)]
    found = rejection_in(error)
    assert found is not None
    assert found.retry_after == max(waits)


@given(grouped(st.sampled_from([*REJECTIONS, *OTHERS])))
def test_of_a_mixed_group_the_others_count(error: BaseException) -> None:
    counted = list({id(leaf): leaf for leaf in flat(error) if leaf in OTHERS}.values())
    assert list(leaves_that_count(error)) == counted
    assert (rejection_in(error) is None) == bool(counted)


def flat(error: BaseException) -> list[BaseException]:
    if isinstance(error, BaseExceptionGroup):
        return [leaf for inner in error.exceptions for leaf in flat(inner)]
    return [error]


@pytest.mark.parametrize("shared", ["cause", "member"])
def test_a_group_that_is_part_of_many_is_looked_at_once(shared: str) -> None:
    """As when each of several attempts is raised from the one group of those before."""
    error: Exception = CircuitOpenError("payments", 7.0)
    for _ in range(40):  # each way through them on its own would take 3**40 steps
        group = ExceptionGroup("", [error] * 3)
        attempts = [chained(OSError(), group) for _ in range(3)]
        error = ExceptionGroup("", attempts if shared == "cause" else [group] * 3)
    found = rejection_in(error)
    assert found is not None
    assert found.retry_after == 7.0
    assert not list(leaves_that_count(error))


def test_an_endless_chain_ends() -> None:
    error = OSError()
    error.__cause__ = chained(OSError(), error)
    assert rejection_in(error) is None
    error.__cause__ = ExceptionGroup("", [error, error])
    assert rejection_in(error) is None


def test_a_response_tells_of_one() -> None:
    told = told_by(OURS)
    assert told is not None
    assert told.name == "payments"
    assert told_by(Response({})) is None


def test_collected_with_those_further_out() -> None:
    with collecting() as outer:
        assert rejected("first", 1.0).name == "first"
        with collecting() as inner:
            rejected("second", 9.0)
            contextvars.copy_context().run(rejected, "third", 3.0)
        rejected("last", 2.0)
    rejected("nobody's", 99.0)
    assert (inner.count, outer.count) == (2, 4)
    assert inner.longest is not None
    assert outer.longest is not None
    assert inner.longest.name == outer.longest.name == "second"


def test_requests_that_begin_inside_one_another_keep_nothing_of_those_before() -> None:
    """A server that reads the next request of a connection while the app sends the last message of
    the one before gives it that one's context variables."""
    kept: list[weakref.ref[Rejections]] = []
    contexts = [contextvars.copy_context()]
    for _ in range(5):
        request = contexts[-1].run(collecting)
        contexts.append(contexts[-1].copy())
        rejections = contexts[-1].run(request.__enter__)
        kept.append(weakref.ref(rejections))
        contexts.append(contexts[-1].copy())  # the next one begins in it
        contexts[-2].run(request.__exit__, None, None, None)
        del rejections, request
        del contexts[:-1]
    gc.collect()
    assert [each() is not None for each in kept] == [False] * 4 + [True]
