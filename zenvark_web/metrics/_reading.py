"""Reads the numbers that coordinators and breakers keep, from any thread."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple, TypeVar

from .. import exceptions
from .._core.states import Role, State
from ..breaker import Breaker
from ..coordinator import Coordinator
from ..exceptions import ZenvarkError
from ..statistics import OPENING_CAUSES
from ._families import (
    BATCHES,
    BLOCKED,
    CONNECTED,
    DELAY,
    ERRORS,
    EVALUATED,
    LED,
    LOST,
    OPENINGS,
    RECORDED,
    ROLE,
    STATE,
    TRANSITIONS,
    UNPROTECTED,
    Families,
    Family,
    Labels,
    Numbers,
)
from ._places import OTHER_CIRCUITS, Places

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

GRAVITY = (State.CLOSED, State.HALF_OPEN, State.OPEN)


class Count(NamedTuple):
    """How much has been counted, and by what: a new source begins at zero."""

    source: object
    family: Family
    labels: Labels
    numbers: Numbers


class Level(NamedTuple):
    """What is so now.

    Args:
        family, labels, numbers: What is shown.
        generation: Of a circuit's state, its number.
        insists: Whether it is told again and again, against others who tell the same less gravely.
    """

    family: Family
    labels: Labels
    numbers: Numbers
    generation: int = 0
    insists: bool = False


def kept_breakers(coordinator: Coordinator) -> list[Breaker]:
    """The breakers a coordinator keeps now."""
    return copied(coordinator.breakers.values())


def counts_of_breaker(namespace: str, breaker: Breaker, families: Families) -> Iterator[Count]:
    """What one breaker has counted."""
    name, source, calls = breaker.name, breaker.successes, families.calls
    # The source lasts as long as all its numbers.
    yield Count(source, calls, (namespace, name, "success"), calls.numbers(breaker.successes))
    yield Count(source, calls, (namespace, name, "failure"), calls.numbers(breaker.failures))
    yield Count(source, BLOCKED, (namespace, name), (breaker.blocked,))
    for cause in OPENING_CAUSES:  # there before it opens, so that a rate sees the first opening
        yield Count(source, OPENINGS, (namespace, name, cause.value), (0,))


def counts_of_circuits(
    coordinator: Coordinator,
    families: Families,
    is_news: Callable[[object, Numbers], bool] = lambda source, numbers: True,
) -> Iterator[Count]:
    """What a coordinator has counted of its circuits, besides their calls.

    Args:
        coordinator: The coordinator.
        families: The metrics.
        is_news: Tells whether a source has counted something. Those that have done so last come
            first, so the first that has not is the end.
    """
    namespace, statistics, checks = coordinator.namespace, coordinator.statistics, families.checks
    for name, openings in reversed(copied(statistics.openings.items())):
        if not is_news(openings, tuple(openings.counts.values())):
            break
        for cause, number in copied(openings.counts.items()):
            yield Count(openings, OPENINGS, (namespace, name, cause.value), (number,))
    for (name, type_, passed), check in reversed(copied(statistics.health_checks.items())):
        if not is_news(check, (sum(check.counts),)):
            break
        labels = (namespace, name, type_.value, "success" if passed else "failure")
        yield Count(check, checks, labels, checks.numbers(check))


def counts(coordinator: Coordinator) -> Iterator[Count]:
    """What a coordinator has counted of all circuits together."""
    namespace, statistics = coordinator.namespace, coordinator.statistics
    yield Count(statistics, RECORDED, (namespace,), (statistics.recorded,))
    yield Count(statistics, EVALUATED, (namespace,), (statistics.evaluated,))
    yield Count(statistics, LOST, (namespace, "dropped"), (statistics.dropped,))
    yield Count(statistics, LOST, (namespace, "expired"), (statistics.expired,))
    errors = dict.fromkeys(OWN_ERRORS, 0)
    for name, number in {**errors, **dict(copied(statistics.errors.items()))}.items():
        yield Count(statistics, ERRORS, (namespace, name), (number,))
    yield Count(statistics, BATCHES, (namespace,), (statistics.batches,))
    yield Count(statistics, UNPROTECTED, (namespace,), (statistics.unprotected,))
    yield Count(statistics, TRANSITIONS, (namespace,), (statistics.transitions,))
    yield Count(statistics, DELAY, (namespace,), DELAY.numbers(statistics.effect))


def levels(coordinators: Iterable[Coordinator], places: Places) -> Iterator[Level]:
    """What is so now, as far as these coordinators know."""
    members: dict[str, list[Coordinator]] = {}
    for coordinator in coordinators:
        members.setdefault(coordinator.namespace, []).append(coordinator)
    for namespace, its in members.items():
        yield from _leadership(namespace, its)
        yield Level(CONNECTED, (namespace,), (sum(member.connected for member in its),))
        yield from _states(namespace, its, places)


def _leadership(namespace: str, members: Iterable[Coordinator]) -> Iterator[Level]:
    roles: dict[str, list[Role]] = {}
    led: dict[str, int] = {}
    for member in members:
        for number, (role, known) in enumerate(
            zip(member.shard_roles, member.shards_led, strict=True)
        ):
            shard = str(number)
            roles.setdefault(shard, []).append(role)
            led[shard] = led.get(shard, 0) + known
    for shard, its in roles.items():
        yield Level(ROLE, (namespace, shard), tuple(its.count(role) for role in Role))
        yield Level(LED, (namespace, shard), (led[shard],))


def _states(namespace: str, members: Iterable[Coordinator], places: Places) -> Iterator[Level]:
    hidden, gravest = False, State.CLOSED
    for breaker in _newest(members):
        circuit, state = (namespace, breaker.name), breaker.state
        if places.shows(circuit, state):
            yield Level(STATE, circuit, STATES[state], breaker.generation)
            continue
        hidden = True
        if state is not State.CLOSED:
            gravest = max(gravest, state, key=GRAVITY.index)
    if hidden:
        insists = gravest is not State.CLOSED
        yield Level(STATE, (namespace, OTHER_CIRCUITS), STATES[gravest], insists, insists)


def _newest(members: Iterable[Coordinator]) -> Iterable[Breaker]:
    """Of each circuit the breaker that knows it best."""
    views = [kept_breakers(member) for member in members]
    if len(views) == 1:
        return views[0]
    newest: dict[str, Breaker] = {}
    for view in views:
        for breaker in view:
            other = newest.setdefault(breaker.name, breaker)
            if other.generation < breaker.generation:
                newest[breaker.name] = breaker
    return newest.values()


def copied(things: Iterable[T]) -> list[T]:
    """A copy of what another thread may be changing."""
    while True:
        try:
            return list(things)
        except RuntimeError:  # their number has changed meanwhile
            pass
