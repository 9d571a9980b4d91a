"""The parts of a checkpoint <-> the texts that are stored of them."""

from __future__ import annotations

import math
from typing import Any

from .._core.order import Position
from .._core.states import Counted, Tally, TrialResults
from ._fields import (
    VERSION,
    check_version,
    dump,
    guarded,
    ms,
    parse_json,
    string,
    valid_counts,
    valid_name,
    valid_position,
    well_formed,
    well_formed_counts,
    whole,
)
from .base import Account


def encode_account(account: Account) -> str:
    """What the hash of accounts holds."""
    numbers = (account.first, account.last, account.evaluated, account.expired)
    return dump([VERSION, *numbers])


def decode_account(text: str) -> Account:
    """The account in a text.

    Raises:
        MalformedEntryError: It is of another version, or none.
    """

    def decode() -> Account:
        version, *numbers = parse_json(text, list)
        check_version({"v": version})
        return Account(*(whole(number) for number in numbers))

    return guarded("account", text, decode)


def encode_tally(tally: Tally) -> str:
    """What the hash of tallies holds of a circuit."""
    counted, trial = tally.counted, tally.trial
    return dump(
        [
            VERSION,
            tally.generation,
            str(tally.position),
            counted and _pack_counted(counted),
            trial and [trial.passed, trial.failed, well_formed_counts(trial.failures)],
            ms(tally.hold),
        ]
    )


def decode_tally(text: str) -> Tally:
    """The tally in a text.

    Raises:
        MalformedEntryError: It is of another version, or none.
    """

    def decode() -> Tally:
        version, generation, position, counted, trial, hold = parse_json(text, list)
        check_version({"v": version})
        return Tally(
            whole(generation),
            valid_position(position),
            None if counted is None else _unpack_counted(counted),
            None if trial is None else _unpack_trial(trial),
            whole(hold) / 1000,
        )

    return guarded("tally", text, decode)


def decode_position(text: str) -> Position:
    """A position in a stream.

    Raises:
        MalformedEntryError: It is none.
    """
    return guarded("position", text, lambda: valid_position(text))


def _pack_counted(counted: Counted) -> list[Any]:
    newest = math.ceil(counted.newest * 1000)  # what is told after it must not stand before it
    failures = [(who, well_formed(what), count) for who, what, count in counted.failures]
    return [counted.strategy, counted.window, failures, newest]


def _unpack_counted(packed: Any) -> Counted:
    strategy, window, failures, newest = packed
    return Counted(
        string(strategy),
        None if window is None else string(window),
        tuple(
            (valid_name(who), string(what)[:64], whole(count, least=1))
            for who, what, count in failures
        ),
        whole(newest) / 1000,
    )


def _unpack_trial(packed: Any) -> TrialResults:
    passed, failed, failures = packed
    return TrialResults(whole(passed), whole(failed), valid_counts(failures))
