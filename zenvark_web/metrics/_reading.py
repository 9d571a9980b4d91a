"""Reads the numbers that coordinators and breakers keep, from any thread."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple, TypeVar

from .. import exceptions
from .._core.states import Role, State
from ..breaker import Breaker
from ..coordinator import Coordinator
from ..exceptions import ZenvarkError
from ..statistics import Distribution
from ._families import (
    BATCHES,
    BLOCKED,
    CALLS,
    CHECKS,
    CONNECTED,
    DELAY,
    ERRORS,
    EVALUATED,
    LOST,
    RECORDED,
    ROLE,
    STATE,
    TRANSITIONS,
    Family,
    Labels,
    Numbers,
)

T = TypeVar("T")

OWN_ERRORS = tuple(
    error.__name__
    for error in vars(exceptions).values()
    if isinstance(error, type)
    and issubclass(error, ZenvarkError)
    and error not in {ZenvarkError, exceptions.CircuitOpenError}
)
"""Shown before they happen, as 0, so that a rate sees the first one too."""

STATES = {state: tuple(float(case is state) for case in State) for state in State}


class Count(NamedTuple):
    """How much has been counted, and by what: a new source begins at zero."""

    source: object
    family: Family
    labels: Labels
    numbers: Numbers


class Level(NamedTuple):
    """What is so now; of a circuit's state also its generation."""

    family: Family
    labels: Labels
    numbers: Numbers
    generation: int = 0


def kept_breakers(coordinator: Coordinator) -> list[Breaker]:
    """The breakers a coordinator keeps now."""
    return copied(coordinator.breakers.values())


def counts(coordinator: Coordinator, breakers: Iterable[Breaker]) -> Iterator[Count]:
    """What a coordinator and some of its breakers have counted."""
    for breaker in breakers:
        name, source = breaker.name, breaker.successes  # which lasts as long as all its numbers
        yield Count(source, CALLS, (name, "success"), _numbers(breaker.successes))
        yield Count(source, CALLS, (name, "failure"), _numbers(breaker.failures))
        yield Count(source, BLOCKED, (name,), (breaker.blocked,))
    statistics = coordinator.statistics
    for (name, type_, passed), check in copied(statistics.health_checks.items()):
        labels = (name, type_.value, "success" if passed else "failure")
        yield Count(check, CHECKS, labels, _numbers(check))
    yield Count(statistics, RECORDED, (), (statistics.recorded,))
    yield Count(statistics, EVALUATED, (), (statistics.evaluated,))
    yield Count(statistics, LOST, ("dropped",), (statistics.dropped,))
    yield Count(statistics, LOST, ("expired",), (statistics.expired,))
    errors = dict.fromkeys(OWN_ERRORS, 0)
    for name, number in {**errors, **dict(copied(statistics.errors.items()))}.items():
        yield Count(statistics, ERRORS, (name,), (number,))
    yield Count(statistics, BATCHES, (), (statistics.batches,))
    yield Count(statistics, TRANSITIONS, (), (statistics.transitions,))
    yield Count(statistics, DELAY, (), _numbers(statistics.effect))


def levels(coordinators: Iterable[Coordinator]) -> Iterator[Level]:
    """What is so now, as far as these coordinators know."""
    members = list(coordinators)
    if not members:
        return
    roles = [member.role for member in members]
    yield Level(ROLE, (), tuple(roles.count(role) for role in Role))
    yield Level(CONNECTED, (), (sum(member.connected for member in members),))
    newest: dict[str, Breaker] = {}
    for member in members:
        for breaker in kept_breakers(member):
            other = newest.setdefault(breaker.name, breaker)
            if other.generation < breaker.generation:
                newest[breaker.name] = breaker
    for name, breaker in newest.items():
        generation, state = breaker.generation, breaker.state
        yield Level(STATE, (name,), STATES[state], generation)


def _numbers(distribution: Distribution) -> Numbers:
    return (*distribution.counts, distribution.total)


def copied(things: Iterable[T]) -> list[T]:
    """A copy of what another thread may be changing."""
    while True:
        try:
            return list(things)
        except RuntimeError:  # their number has changed meanwhile
            pass
