"""Records as hypothesis makes them: everything that may legally be stored."""

from typing import Any

from hypothesis import strategies as st

from zenvark_web._core.failure_kinds import FailureKind
from zenvark_web._core.order import Position
from zenvark_web._core.ramp import Ramp
from zenvark_web._core.states import (
    Cause,
    CircuitSnapshot,
    Grant,
    KnownState,
    Protection,
    Reason,
    Report,
    Run,
    State,
    Suspect,
    Suspicion,
    Transition,
    TrialNote,
    TrialResults,
    WindowSnapshot,
)
from zenvark_web.backends._decoding import MAX_COUNT, MAX_DELAY, MAX_HOLD
from zenvark_web.backends.base import Batch, Presence

names = st.text(min_size=1, max_size=255).filter(str.isprintable)
counts = st.integers(0, 9) | st.integers(0, MAX_COUNT)
positive = st.integers(1, 9) | st.integers(1, MAX_COUNT)
seconds = st.integers(0, 2**42).map(lambda ms: ms / 1000)  # what is stored is whole milliseconds
waits = st.integers(0, MAX_DELAY).map(lambda ms: ms / 1000)
numbers_by_name = st.dictionaries(st.text(max_size=255), counts, max_size=4)

runs = st.builds(
    Run,
    generation=counts,
    failed=st.booleans(),
    slow=st.booleans(),
    count=positive,
    age=seconds,
    label=st.text(max_size=64),
    failure_kind=st.none() | st.sampled_from(FailureKind),
)
notes = st.builds(TrialNote, generation=counts, unused=counts, held=counts)
grants = st.builds(Grant, holder=names, permits=positive, passed=counts)
ramps = st.builds(
    Ramp,
    shares=st.lists(
        st.floats(0, 1, exclude_min=True, exclude_max=True), min_size=1, max_size=20, unique=True
    ).map(lambda shares: tuple(sorted(shares))),
    step=st.integers(500, 3_600_000).map(lambda ms: ms / 1000),
)
words = st.builds(
    lambda state, attempt, delay, share, grant, ramp: KnownState(
        state, attempt, delay / 1000, delay * share // 10 / 1000, grant, *ramp
    ),
    state=st.sampled_from(State),
    attempt=counts,
    delay=st.integers(0, MAX_DELAY),
    share=st.integers(0, 10),
    grant=st.none() | grants,
    ramp=st.just(()) | st.tuples(ramps, seconds),
)
reports = st.builds(
    Report,
    circuit=names,
    runs=st.lists(runs, max_size=4).map(tuple),
    blocked=counts,
    trial=st.none() | notes,
    generation=counts,
    retry_after=st.none() | st.integers(0, MAX_HOLD).map(lambda ms: ms / 1000),
    overdue=counts,
    known_state=st.none() | words,
)
batches = st.builds(
    Batch,
    instance=names,
    number=counts,
    sent=seconds,
    reports=st.lists(reports, max_size=4).map(tuple),
)

reasons = st.builds(
    Reason,
    cause=st.sampled_from(Cause),
    detail=st.text(max_size=1000),
    instances=numbers_by_name,
    failures=numbers_by_name,
    slow_share=st.floats(0, 1),
    kinds=numbers_by_name,
)
parts = counts | st.integers(0, 2**64 - 1)
positions = st.builds(Position, parts, parts)
transitions = st.builds(
    Transition,
    circuit=names,
    generation=counts,
    previous=st.sampled_from(State),
    state=st.sampled_from(State),
    at=seconds,
    since=seconds,
    attempt=counts,
    delay=waits,
    grant=st.none() | grants,
    ramp=st.none() | ramps,
    reason=reasons,
    position=positions,
    epoch=counts,
    leader=st.text(max_size=255),
)

suspicions = st.builds(
    Suspicion,
    instance=names,
    failures=counts,
    slow=counts,
    calls=counts,
    since=seconds,
    until=seconds,
    length=seconds,
)
window_snapshots = st.builds(
    WindowSnapshot,
    strategy=st.text(),
    saved=st.none() | st.text(),
    failures=st.lists(st.tuples(names, st.text(max_size=64), positive), max_size=3).map(tuple),
)
trial_results = st.builds(TrialResults, passed=counts, failed=counts, failures=numbers_by_name)
snapshots = st.builds(
    CircuitSnapshot,
    generation=counts,
    position=positions,
    window=st.none() | window_snapshots,
    trial=st.none() | trial_results,
    retry_after_until=seconds,
    suspects=st.lists(suspicions, max_size=3).map(tuple),
)

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.text(max_size=4), inner),
    max_leaves=8,
)


def further(array: list[Any]) -> st.SearchStrategy[list[Any]]:
    """The array of a newer version, with further elements at the end."""
    return st.lists(json_values, max_size=2).map(lambda more: [*array, *more])


protections = st.builds(
    Protection,
    circuit=names,
    state=st.sampled_from([State.OPEN, State.HALF_OPEN]),
    since=st.integers(0, 10**12).map(lambda ms: ms / 1000),
    detail=st.text(max_size=500),
    failures=numbers_by_name,
)
presences = st.builds(
    Presence,
    instance=st.text(),
    version=st.text(),
    fingerprint=st.text(),
    local=st.text(),
    can=st.frozensets(st.text(), max_size=5),
    protects=st.lists(protections, max_size=3).map(tuple),
)
suspects = st.builds(
    Suspect,
    circuit=names,
    instance=names,
    failures=counts,
    calls=counts,
    since=st.integers(0, 10**12).map(lambda ms: ms / 1000),
)
