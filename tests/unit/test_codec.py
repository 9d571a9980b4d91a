"""What is stored comes back as it was; rubbish raises `MalformedEntryError` and nothing else."""

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tests.unit.records import (
    batches,
    json_values,
    positions,
    presences,
    snapshots,
    transitions,
)
from zenvark_web import Cause, MalformedEntryError, Reason, State
from zenvark_web._core.order import Position
from zenvark_web._core.states import (
    CircuitSnapshot,
    Grant,
    KnownState,
    Report,
    Run,
    Transition,
    TrialNote,
    TrialResults,
    WindowSnapshot,
)
from zenvark_web.backends._decoding import (
    MAX_COUNT,
    MAX_DELAY,
    MAX_ENTRY_LENGTH,
    MAX_HOLD,
    MAX_REPORTS,
    MAX_RUNS,
    decode_batch,
    decode_position,
    decode_presence,
    decode_snapshot,
    decode_state_entry,
    decode_transition,
    readable,
)
from zenvark_web.backends._encoding import (
    VERSION,
    encode_batch,
    encode_presence,
    encode_snapshot,
    encode_transition,
)
from zenvark_web.backends.base import Batch, Forgotten, LeaderChange, Presence, UnknownEntry

BATCH = Batch(
    "web-1",
    7,
    1700000000.125,
    (
        Report(
            "payments",
            (Run(3, True, False, 2, 0.25, "ReadTimeout"), Run(3, False, True, 1)),
            4,
            TrialNote(3, 1, 0),
            retry_after=60.5,
            overdue=2,
            generation=3,
            known_state=KnownState(
                State.HALF_OPEN, 2, 1.5, 0.5, Grant(holder="web-1", permits=2, passed=1)
            ),
        ),
    ),
)
TRANSITION = Transition(
    circuit="payments",
    generation=4,
    previous=State.OPEN,
    state=State.HALF_OPEN,
    at=1700000000.5,
    since=1700000000.25,
    attempt=2,
    delay=1.5,
    grant=Grant(holder="web-1", permits=2, passed=1),
    reason=Reason(
        cause=Cause.TRIAL,
        detail="2 trial calls granted to web-1",
        instances={"web-1": 3},
        failures={"ReadTimeout": 3},
        slow_share=0.25,
    ),
    position=Position(1700000000000, 3),
    epoch=9,
    leader="web-2",
)
LONG = "x" * 256
HUGE = 10**400
COUNTS: list[Any] = [-1, MAX_COUNT + 1, HUGE, 1.0, "1", True, None, [], {}]
NAMES: list[Any] = ["", LONG, "a\nb", "\ud800", 5, None, []]
SECONDS: list[Any] = [-1, HUGE, 1.5, "1", None]


def short(value: object) -> str:
    return ascii(value)[:12]


class TestRoundTrip:
    @given(batches)
    def test_batch(self, batch: Batch) -> None:
        assert decode_batch(encode_batch(batch)) == batch

    @given(transitions)
    def test_transition(self, transition: Transition) -> None:
        text = encode_transition(transition)
        assert text.isascii()
        assert decode_transition(text) == transition
        assert decode_state_entry({"transition": text}) == transition

    @given(presences)
    def test_presence(self, presence: Presence) -> None:
        assert decode_presence(presence.instance, encode_presence(presence)) == presence

    @given(snapshots)
    def test_tally(self, snapshot: CircuitSnapshot) -> None:
        assert decode_snapshot(encode_snapshot(snapshot)) == snapshot

    @given(positions)
    def test_position(self, position: Position) -> None:
        assert decode_position(str(position)) == position

    def test_leader_changes(self) -> None:
        entry = {"v": VERSION, "epoch": "5", "leader": "web-1"}
        assert decode_state_entry(entry) == LeaderChange(5, "web-1")
        for told, circuits in (("", None), ("7", 7)):
            change = decode_state_entry({**entry, "circuits": told})
            assert isinstance(change, LeaderChange)
            assert change.circuits == circuits
        assert decode_state_entry({**entry, "leader": ""}) == LeaderChange(5, None)

    def test_forgotten_circuits(self) -> None:
        entry = {"v": VERSION, "forgotten": "payments", "generation": "5"}
        assert decode_state_entry(entry) == Forgotten("payments", 5)

    def test_times_are_kept_to_the_millisecond(self) -> None:
        batch = Batch("web-1", 1, 12.3456, (Report("c", (Run(0, True, False, 1, 0.0004),)),))
        read = decode_batch(encode_batch(batch))
        assert read.sent == 12.346
        assert read.reports[0].runs[0].age == 0.0

    def test_time_under_way_is_added_to_each_age(self) -> None:
        runs = decode_batch({**encode_batch(BATCH), "late": "1500"}).reports[0].runs
        assert [run.age for run in runs] == [1.75, 1.5]

    @pytest.mark.parametrize(("late", "overdue"), [("3000", 2), ("3001", 0)])
    def test_what_is_said_of_the_moment_gets_old(self, late: str, overdue: int) -> None:
        assert decode_batch({**encode_batch(BATCH), "late": late}).reports[0].overdue == overdue

    @pytest.mark.parametrize(("late", "left"), [("1500", 59.0), ("60500", 0.0), ("999999", 0.0)])
    def test_time_under_way_is_taken_from_a_hold(self, late: str, left: float) -> None:
        assert decode_batch({**encode_batch(BATCH), "late": late}).reports[0].retry_after == left

    @pytest.mark.parametrize(("late", "left"), [("0", 0.5), ("200", 0.3), ("9999", 0.0)])
    def test_time_under_way_is_taken_from_what_is_left_of_a_wait(
        self, late: str, left: float
    ) -> None:
        word = decode_batch({**encode_batch(BATCH), "late": late}).reports[0].known_state
        assert word is not None
        assert word.left == left

    def test_words_of_an_older_version_are_not_missed(self) -> None:
        older = {name: text for name, text in encode_batch(BATCH).items() if name != "words"}
        assert decode_batch(older).reports[0] == replace(BATCH.reports[0], known_state=None)


class TestWhatIsCut:
    """Free text may be long in an entry, but not in memory."""

    def test_label(self) -> None:
        batch = Batch("web-1", 1, 0, (Report("c", (Run(0, True, False, 1, 0, "x" * 100),)),))
        assert decode_batch(encode_batch(batch)).reports[0].runs[0].label == "x" * 64

    def test_reason_and_leader(self) -> None:
        stored = json.loads(encode_transition(TRANSITION))
        stored |= {"detail": "x" * 5000, "failures": {LONG: 1}, "leader": LONG}
        transition = decode_transition(json.dumps(stored))
        assert len(transition.reason.detail) == 1000
        assert list(transition.reason.failures) == ["x" * 255]
        assert transition.leader == "x" * 255


def changed(value: Any, path: tuple[Any, ...], new: Any) -> Any:
    """A JSON value with another one at a place in it."""
    if not path:
        return new
    copy = value.copy()
    copy[path[0]] = changed(value[path[0]], path[1:], new)
    return copy


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The path to each value inside a JSON value."""
    yield path
    if isinstance(value, dict | list):
        for key in value if isinstance(value, dict) else range(len(value)):
            yield from places(value[key], (*path, key))


STORED_BATCH = encode_batch(BATCH)
STORED_REPORTS = json.loads(STORED_BATCH["reports"])
STORED_TRANSITION = json.loads(encode_transition(TRANSITION))


def batch_with(path: tuple[Any, ...], new: Any) -> dict[str, str]:
    return {**STORED_BATCH, "reports": json.dumps(changed(STORED_REPORTS, path, new))}


def words_with(path: tuple[Any, ...], new: Any) -> dict[str, str]:
    return {
        **STORED_BATCH,
        "words": json.dumps(changed(json.loads(STORED_BATCH["words"]), path, new)),
    }


def transition_with(path: tuple[Any, ...], new: Any) -> str:
    return json.dumps(changed(STORED_TRANSITION, path, new))


def refuses_report(fields: Mapping[str, str]) -> None:
    """The report is skipped, and only that."""
    with_another = {
        name: json.dumps([*json.loads(fields[name]), more])
        for name, more in (("reports", STORED_REPORTS[0]), ("words", None))
    }
    batch = decode_batch({**fields, **with_another})
    assert batch.reports == (replace(BATCH.reports[0], known_state=None),)
    assert isinstance(batch.unreadable, MalformedEntryError)


def reads_or_refuses(decode: Callable[[Any], object], stored: object) -> None:
    with suppress(MalformedEntryError):
        decode(stored)


rubbish = st.text() | json_values.map(json.dumps)
rubbish_fields = st.dictionaries(
    st.sampled_from([*STORED_BATCH, "late", "transition", "epoch", "leader", "forgotten"])
    | st.text(max_size=5),
    st.sampled_from([*STORED_BATCH.values(), "", "0", "1_0", "-1", "9" * 5000]) | rubbish,
)


class TestNewerVersions:
    """What a version does not know does not change what it knows."""

    def test_unknown_causes_keep_their_word(self) -> None:
        read = decode_transition(transition_with(("cause",), "brown"))
        assert read.reason.cause is Cause.OTHER
        assert read.reason.detail == f"brown: {TRANSITION.reason.detail}"
        assert decode_transition(encode_transition(read)) == read
        bare = {**STORED_TRANSITION, "cause": "brown", "detail": ""}
        assert decode_transition(json.dumps(bare)).reason.detail == "brown"

    @pytest.mark.parametrize("state", list(State))
    def test_unknown_states_are_read_as_the_known_ones_that_they_name(self, state: State) -> None:
        read = decode_transition(
            json.dumps({**STORED_TRANSITION, "state": "brown", "as": state.value})
        )
        assert read == replace(TRANSITION, state=state)

    @pytest.mark.parametrize("other", [{}, {"as": "brown"}])
    def test_unknown_states_alone_are_told(self, other: dict[str, str]) -> None:
        read = decode_transition(json.dumps({**STORED_TRANSITION, "state": "brown", **other}))
        assert read.unknown_state == "brown"
        assert read.generation == TRANSITION.generation

    def test_unknown_previous_states_are_read_as_no_change(self) -> None:
        read = decode_transition(transition_with(("previous",), "brown"))
        assert read == replace(TRANSITION, previous=TRANSITION.state)

    def test_an_unknown_state_keeps_the_last_one(self) -> None:
        known = replace(TRANSITION, state=State.OPEN, attempt=1, at=5.0, delay=9.0, generation=3)
        after = replace(TRANSITION, unknown_state="brown", generation=4).after(known)
        assert (after.state, after.attempt, after.retry_at) == (State.OPEN, 1, known.retry_at)
        assert (after.generation, after.grant, after.unknown_state) == (4, None, "")
        assert TRANSITION.after(known) is TRANSITION

    def test_unknown_kinds_of_entries_have_a_name(self) -> None:
        entry = {"v": VERSION, "weather": "sun", "generation": "7"}
        assert decode_state_entry(entry) == UnknownEntry("weather")

    @pytest.mark.parametrize(
        "fields", [{"v": VERSION}, {}, {"weather": "sun"}, {"v": "2", "x": ""}]
    )
    def test_what_is_no_entry_of_the_fleet_is_not_of_a_newer_version(
        self, fields: dict[str, str]
    ) -> None:
        with pytest.raises(MalformedEntryError):
            decode_state_entry(fields)

    @pytest.mark.parametrize("can", [None, 5, "ramp", {"ramp": 1}, [1, None]], ids=short)
    def test_instances_with_an_unreadable_list_can_do_nothing(self, can: Any) -> None:
        stored = json.dumps({"version": "9", "fingerprint": "f", "can": can})
        assert decode_presence("web-1", stored) == Presence("web-1", "9", "f")


class TestMoreThanAnyoneSends:
    """It is refused before anything is made of it."""

    def test_reports(self) -> None:
        many = [STORED_REPORTS[0]] * (MAX_REPORTS + 1)
        entry = {name: text for name, text in STORED_BATCH.items() if name != "words"}
        decode_batch({**entry, "reports": json.dumps(many[1:])})
        with pytest.raises(MalformedEntryError, match="are too many"):
            decode_batch({**entry, "reports": json.dumps(many)})

    def test_runs(self) -> None:
        run = STORED_REPORTS[0][1][0]
        with pytest.raises(MalformedEntryError, match="are too many"):
            decode_batch(batch_with((0, 1), [run] * (MAX_RUNS + 1)))

    def test_waits(self) -> None:
        decode_transition(transition_with(("delay",), MAX_DELAY))
        with pytest.raises(MalformedEntryError):
            decode_transition(transition_with(("delay",), MAX_DELAY + 1))
        refuses_report(words_with((0, 2), MAX_DELAY + 1))


class TestHalvesOfCharacters:
    """Half a surrogate pair is no character: scripts cannot read it."""

    def test_are_replaced_on_their_way_out(self) -> None:
        half = "boom \ud83d"
        batch = Batch("web-1", 1, 0.0, (Report("c", (Run(0, True, False, 1, 0.0, half),)),))
        assert "\\ud83d" not in encode_batch(batch)["reports"]
        reason = Reason(cause=Cause.TRIPPED, detail=half, instances={half: 1}, failures={half: 2})
        text = encode_transition(replace(TRANSITION, reason=reason))
        assert "\\ud83d" not in text
        assert decode_transition(text).reason.detail == "boom \ufffd"
        counted = WindowSnapshot("s", None, (("web-1", half, 1),))
        snapshot = CircuitSnapshot(1, window=counted, trial=TrialResults(0, 1, {half: 1}))
        assert "\\ud83d" not in encode_snapshot(snapshot)

    def test_are_replaced_on_their_way_in(self) -> None:
        runs = decode_batch(batch_with((*RUN, 4), "boom \ud83d")).reports[0].runs
        assert runs[0].label == "boom \ufffd"
        text = transition_with(("failures",), {"boom \udc00": 1})
        assert decode_transition(text).reason.failures == {"boom \ufffd": 1}

    def test_whole_characters_stay(self) -> None:
        batch = Batch(
            "web-1", 1, 0.0, (Report("c", (Run(0, True, False, 1, 0.0, "\U0001f4a5 é"),)),)
        )
        assert decode_batch(encode_batch(batch)) == batch


class TestRubbish:
    @given(rubbish_fields)
    def test_fields(self, fields: dict[str, str]) -> None:
        reads_or_refuses(decode_batch, fields)
        reads_or_refuses(decode_state_entry, fields)

    @given(st.sampled_from([*STORED_BATCH, "late"]), rubbish)
    def test_one_bad_field(self, name: str, value: str) -> None:
        reads_or_refuses(decode_batch, {**STORED_BATCH, name: value})

    @given(st.sampled_from([name for name in STORED_BATCH if name != "words"]))
    def test_missing_field(self, name: str) -> None:
        with pytest.raises(MalformedEntryError):
            decode_batch({key: value for key, value in STORED_BATCH.items() if key != name})

    @given(st.sampled_from(list(places(STORED_REPORTS))), json_values)
    def test_other_values_in_a_batch(self, path: tuple[Any, ...], new: Any) -> None:
        reads_or_refuses(decode_batch, batch_with(path, new))

    @example(("slow_share",), HUGE)
    @example(("failures",), None)
    @given(st.sampled_from(list(places(STORED_TRANSITION))), json_values)
    def test_other_values_in_a_transition(self, path: tuple[Any, ...], new: Any) -> None:
        reads_or_refuses(decode_transition, transition_with(path, new))

    @given(st.sampled_from(list(STORED_TRANSITION)))
    def test_missing_key(self, name: str) -> None:
        rest = {key: value for key, value in STORED_TRANSITION.items() if key != name}
        with pytest.raises(MalformedEntryError):
            decode_transition(json.dumps(rest))

    @given(st.integers(0, len(STORED_BATCH["reports"]) - 1))
    def test_cut_off_batch(self, length: int) -> None:
        with pytest.raises(MalformedEntryError):
            decode_batch({**STORED_BATCH, "reports": STORED_BATCH["reports"][:length]})

    @given(st.integers(0, len(encode_transition(TRANSITION)) - 1))
    def test_cut_off_transition(self, length: int) -> None:
        with pytest.raises(MalformedEntryError):
            decode_transition(encode_transition(TRANSITION)[:length])

    @given(rubbish)
    def test_transition_and_presence(self, text: str) -> None:
        reads_or_refuses(decode_transition, text)
        presence = decode_presence("web-1", text)
        assert isinstance(presence, Presence | MalformedEntryError)

    @given(rubbish)
    def test_tally_and_position(self, text: str) -> None:
        reads_or_refuses(decode_snapshot, text)
        reads_or_refuses(decode_position, text)

    @pytest.mark.parametrize("text", ["", "{", "[]", "null", "NaN", "[" * 100_000, "\ud800"])
    def test_no_json_object(self, text: str) -> None:
        with pytest.raises(MalformedEntryError):
            decode_transition(text)
        with pytest.raises(MalformedEntryError):
            decode_batch({**STORED_BATCH, "reports": f'{{"a": {text}}}'})
        assert isinstance(decode_presence("web-1", text), MalformedEntryError)


RUN = (0, 1, 0)
NOTE = (0, 3)


class TestRefused:
    """Each of these would do harm in memory or in arithmetic if it were let in."""

    @pytest.mark.parametrize("version", ["2", "0", "", "1.0", " 1"])
    def test_other_versions(self, version: str) -> None:
        with pytest.raises(MalformedEntryError, match="this package reads '1'"):
            decode_batch({**STORED_BATCH, "v": version})
        with pytest.raises(MalformedEntryError, match="this package reads '1'"):
            decode_transition(transition_with(("v",), version))
        with pytest.raises(MalformedEntryError, match="this package reads '1'"):
            decode_state_entry({"v": version, "epoch": "1", "leader": "web-1"})

    @pytest.mark.parametrize(
        "what", [(*RUN, 0), (*RUN, 3), (0, 2), *[(*NOTE, i) for i in range(3)]]
    )
    @pytest.mark.parametrize("count", COUNTS, ids=short)
    def test_counts_in_a_batch(self, what: tuple[int, ...], count: Any) -> None:
        refuses_report(batch_with(what, count))

    @pytest.mark.parametrize("what", [(0, 5), (0, 6)])
    @pytest.mark.parametrize("count", [count for count in COUNTS if count is not None], ids=short)
    def test_holds_and_gauges(self, what: tuple[int, ...], count: Any) -> None:
        refuses_report(batch_with(what, count))

    def test_hold_that_no_policy_allows(self) -> None:
        assert decode_batch(batch_with((0, 5), MAX_HOLD)).reports[0].retry_after == MAX_HOLD / 1000
        assert decode_batch(batch_with((0, 5), None)).reports[0].retry_after is None
        refuses_report(batch_with((0, 5), MAX_HOLD + 1))

    @pytest.mark.parametrize("field", ["number", "sent", "late"])
    @pytest.mark.parametrize("count", ["-1", str(MAX_COUNT + 1), "1.5", "", "x", "9" * 5000])
    def test_numbers_of_a_batch(self, field: str, count: str) -> None:
        with pytest.raises(MalformedEntryError):
            decode_batch({**STORED_BATCH, field: count})

    @pytest.mark.parametrize("what", [(0, 1), (0, 2), (0, 3), (0, 4, 1), (0, 4, 2)])
    @pytest.mark.parametrize("count", COUNTS, ids=short)
    def test_counts_in_a_word(self, what: tuple[int, ...], count: Any) -> None:
        refuses_report(words_with(what, count))

    @pytest.mark.parametrize("word", [1, [], ["closed"], {}, ["closed", 1, 1]], ids=short)
    def test_shapes_of_words(self, word: Any) -> None:
        refuses_report(words_with((), [word]))

    @pytest.mark.parametrize("words", [[], [None, None]], ids=short)
    def test_words_of_other_reports(self, words: Any) -> None:
        with pytest.raises(MalformedEntryError):
            decode_batch(words_with((), words))

    def test_run_of_no_calls(self) -> None:
        refuses_report(batch_with((*RUN, 3), 0))

    @pytest.mark.parametrize("age", SECONDS, ids=short)
    def test_ages(self, age: Any) -> None:
        refuses_report(batch_with((*RUN, 1), age))

    @pytest.mark.parametrize("kind", [-1, 4, 0.5, "1", None, []], ids=short)
    def test_kinds(self, kind: Any) -> None:
        refuses_report(batch_with((*RUN, 2), kind))

    @pytest.mark.parametrize("path", [(0,), RUN, (0, 1), NOTE])
    @pytest.mark.parametrize("value", [0, "abcd", [1], [-1] * 9, {"a": 1}], ids=short)
    def test_shapes(self, path: tuple[int, ...], value: Any) -> None:
        refuses_report(batch_with(path, value))

    @pytest.mark.parametrize("value", [0, "abcd", {"a": 1}, None], ids=short)
    def test_shapes_of_reports(self, value: Any) -> None:
        with pytest.raises(MalformedEntryError):
            decode_batch(batch_with((), value))

    @pytest.mark.parametrize("name", NAMES, ids=short)
    def test_names(self, name: Any) -> None:
        refuses_report(batch_with((0, 0), name))
        with pytest.raises(MalformedEntryError):
            decode_transition(transition_with(("circuit",), name))
        with pytest.raises(MalformedEntryError):
            decode_transition(transition_with(("grant", 0), name))

    @pytest.mark.parametrize("name", ["", LONG, "a\nb", "\ud800"], ids=short)
    def test_names_of_instances(self, name: str) -> None:
        with pytest.raises(MalformedEntryError):
            decode_batch({**STORED_BATCH, "instance": name})

    @pytest.mark.parametrize("name", [LONG, "a\nb", "\ud800"], ids=short)
    def test_names_of_leaders(self, name: str) -> None:
        with pytest.raises(MalformedEntryError):
            decode_state_entry({"v": VERSION, "epoch": "1", "leader": name})

    @pytest.mark.parametrize("name", ["", LONG, "a\nb", "\ud800"], ids=short)
    def test_names_of_forgotten_circuits(self, name: str) -> None:
        with pytest.raises(MalformedEntryError):
            decode_state_entry({"v": VERSION, "forgotten": name, "generation": "1"})

    @pytest.mark.parametrize("number", ["-1", str(MAX_COUNT + 1), "1.5", "", "x", "9" * 5000])
    def test_numbers_of_state_entries(self, number: str) -> None:
        with pytest.raises(MalformedEntryError):
            decode_state_entry({"v": VERSION, "forgotten": "payments", "generation": number})
        with pytest.raises(MalformedEntryError):
            decode_state_entry({"v": VERSION, "leader": "web-1", "epoch": number})

    @pytest.mark.parametrize("field", ["generation", "attempt", "epoch", "at", "since", "delay"])
    @pytest.mark.parametrize("count", COUNTS, ids=short)
    def test_numbers_of_a_transition(self, field: str, count: Any) -> None:
        with pytest.raises(MalformedEntryError):
            decode_transition(transition_with((field,), count))

    @pytest.mark.parametrize(
        ("path", "value"),
        [
            *[((name,), 5) for name in ("state", "previous", "cause")],
            *[(("position",), bad) for bad in ("", "5", "a-b", "-1-0", "1--1", f"{2**64}-0", 5)],
            *[(("slow_share",), bad) for bad in (float("nan"), float("inf"), HUGE, "x", None)],
            *[(("grant",), bad) for bad in ([], ["a"], ["a", 1], "abc", 5, {"a": 1})],
            *[(("grant", 1), bad) for bad in (0, *COUNTS)],
            *[(("grant", 2), bad) for bad in COUNTS],
            *[((name,), bad) for name in ("detail", "leader") for bad in (5, None, [])],
            *[((name,), bad) for name in ("instances", "failures") for bad in (5, None, [1])],
            *[((name,), {"a": bad}) for name in ("instances", "failures") for bad in COUNTS],
        ],
        ids=short,
    )
    def test_values_of_a_transition(self, path: tuple[Any, ...], value: Any) -> None:
        with pytest.raises(MalformedEntryError):
            decode_transition(transition_with(path, value))

    def test_overlong_entries(self) -> None:
        filler = " " * MAX_ENTRY_LENGTH
        with pytest.raises(MalformedEntryError, match="characters are too many") as caught:
            decode_batch({**STORED_BATCH, "reports": STORED_BATCH["reports"] + filler})
        assert len(str(caught.value)) < 1000
        with pytest.raises(MalformedEntryError, match="characters are too many"):
            decode_transition(encode_transition(TRANSITION) + filler)


def test_readable_gives_the_error_instead_of_raising_it() -> None:
    good: Mapping[str, str] = STORED_BATCH
    assert readable(decode_batch, good) == BATCH
    assert isinstance(readable(decode_batch, {}), MalformedEntryError)
