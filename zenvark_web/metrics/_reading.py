"""Reads the numbers of coordinators and breakers, from any thread."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple, TypeVar

from .. import exceptions
from .._core.overrides import Override
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
    FAILURES,
    FORCED,
    LED,
    LOST,
    OPENINGS,
    OVERRIDES,
    OWN_STATE,
    RECORDED,
    REFUSALS,
    ROLE,
    SHARE,
    STATE,
    TRANSITIONS,
    UNKNOWN_ENTRIES,
    UNPROTECTED,
    WOULD_BLOCK,
    Families,
    Family,
    Labels,
    Numbers,
)
from ._slots import OTHER_CIRCUITS, SeriesSlots

T = TypeVar("T")

OWN_ERRORS = tuple(
    error.__name__
    for error in vars(exceptions).values()
    if isinstance(error, type)
    and issubclass(error, ZenvarkError)
    and error not in {ZenvarkError, exceptions.CircuitOpenError}
)
"""Exported as 0 before they happen, so that a rate includes the first one."""

STATES = {state: tuple(float(case is state) for case in State) for state in State}

SEVERITY = (State.CLOSED, State.HALF_OPEN, State.OPEN)


class Count(NamedTuple):
    """A count and its source. A new source begins at zero."""

    source: object
    family: Family
    labels: Labels
    numbers: Numbers


class Level(NamedTuple):
    """The values of a gauge.

    Args:
        family, labels, numbers: The series.
        generation: The generation of a circuit's state.
        insists: Whether it is written each time, because other processes may write a less severe
            state into the same series.
    """

    family: Family
    labels: Labels
    numbers: Numbers
    generation: int = 0
    insists: bool = False


def kept_breakers(coordinator: Coordinator) -> list[Breaker]:
    """The breakers of a coordinator."""
    return copied(coordinator.breakers.values())


def counts_of_breaker(namespace: str, breaker: Breaker, families: Families) -> Iterator[Count]:
    """The counts of a breaker."""
    name, source, calls = breaker.name, breaker.successes, families.calls
    # The source lasts as long as all its numbers.
    yield Count(source, calls, (namespace, name, "success"), calls.numbers(breaker.successes))
    yield Count(source, calls, (namespace, name, "failure"), calls.numbers(breaker.failures))
    yield Count(source, BLOCKED, (namespace, name), (breaker.blocked,))
    if breaker.forced or breaker.override is not None:  # few circuits ever have one
        yield Count(source, FORCED, (namespace, name), (breaker.forced,))
    yield Count(source, WOULD_BLOCK, (namespace, name), (breaker.would_block,))
    for kind, number in breaker.failure_kinds.items():
        if number:  # six series for each circuit would be many
            yield Count(source, FAILURES, (namespace, name, kind), (number,))
    if breaker.protects_itself:
        yield Count(source, REFUSALS, (namespace, name), (0,))
    for cause in OPENING_CAUSES:  # exported as 0, so that a rate includes the first opening
        yield Count(source, OPENINGS, (namespace, name, cause.value), (0,))


def counts_of_circuits(
    coordinator: Coordinator,
    families: Families,
    is_news: Callable[[object, Numbers], bool] = lambda source, numbers: True,
) -> Iterator[Count]:
    """The counts of a coordinator by circuit, except calls.

    Args:
        coordinator: The coordinator.
        families: The metrics.
        is_news: Whether a source has new counts. The most recent sources come first, so the first
            one without ends the search.
    """
    namespace, statistics, checks = coordinator.namespace, coordinator.statistics, families.checks
    for name, openings in reversed(copied(statistics.openings.items())):
        if not is_news(openings, tuple(openings.counts.values())):
            break
        for cause, number in copied(openings.counts.items()):
            yield Count(openings, OPENINGS, (namespace, name, cause.value), (number,))
    for name, refusals in reversed(copied(statistics.quorum_refusals.items())):
        if not is_news(refusals, (refusals.count,)):
            break
        yield Count(refusals, REFUSALS, (namespace, name), (refusals.count,))
    for (name, type_, passed), check in reversed(copied(statistics.health_checks.items())):
        if not is_news(check, (sum(check.counts),)):
            break
        labels = (namespace, name, type_.value, "success" if passed else "failure")
        yield Count(check, checks, labels, checks.numbers(check))


def counts(coordinator: Coordinator) -> Iterator[Count]:
    """The counts of a coordinator for all circuits together."""
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
    yield Count(statistics, UNKNOWN_ENTRIES, (namespace,), (statistics.unknown_entries,))
    yield Count(statistics, TRANSITIONS, (namespace,), (statistics.transitions,))
    yield Count(statistics, DELAY, (namespace,), DELAY.numbers(statistics.effect))


def levels(coordinators: Iterable[Coordinator], slots: SeriesSlots) -> Iterator[Level]:
    """The gauges of these coordinators."""
    members: dict[str, list[Coordinator]] = {}
    for coordinator in coordinators:
        members.setdefault(coordinator.namespace, []).append(coordinator)
    for namespace, its in members.items():
        yield from _leadership(namespace, its)
        yield Level(CONNECTED, (namespace,), (sum(member.connected for member in its),))
        yield Level(OVERRIDES, (namespace,), _overrides(its))
        yield from _states(namespace, its, slots)


def shown_state(breaker: Breaker) -> State:
    """The state to show: what an operator has forced, else the fleet's verdict, which is shown even
    if it is only observed."""
    override = breaker.override
    is_forced = override is not None and override.mode is not Override.OBSERVE
    return breaker.state if is_forced else breaker.verdict


def _overrides(members: Iterable[Coordinator]) -> Numbers:
    """The number of overrides by mode, as known to the best informed member."""
    known = [Counter(each.mode for each in member.overrides.values()) for member in members]
    return tuple(max((counts[mode] for counts in known), default=0) for mode in Override)


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


def _states(namespace: str, members: Iterable[Coordinator], slots: SeriesSlots) -> Iterator[Level]:
    hidden, most_severe, least = False, State.CLOSED, 1.0
    for breaker in _newest(members):
        circuit, state = (namespace, breaker.name), shown_state(breaker)
        share = breaker.share
        if slots.shows(circuit, state):
            yield Level(STATE, circuit, STATES[state], breaker.generation)
            yield Level(SHARE, circuit, (share,), breaker.generation)
            if breaker.protects_itself:
                yield Level(OWN_STATE, circuit, STATES[breaker.own_state], breaker.generation)
            continue
        hidden = True
        if state is not State.CLOSED:
            most_severe = max(most_severe, state, key=SEVERITY.index)
            least = min(least, share)
    if hidden:
        insists = most_severe is not State.CLOSED
        others = (namespace, OTHER_CIRCUITS)
        yield Level(STATE, others, STATES[most_severe], insists, insists)
        yield Level(SHARE, others, (least,), insists, insists)


def _newest(members: Iterable[Coordinator]) -> Iterable[Breaker]:
    """The breaker with the latest generation of each circuit."""
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
    """A copy of a collection that another thread may change."""
    while True:
        try:
            return list(things)
        except RuntimeError:  # it has changed its size meanwhile
            pass
