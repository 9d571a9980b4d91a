"""What is stored keeps its meaning, in every version of this package and in every language.

The vectors are frozen: a fleet may run versions that are years apart. A change of the format gets a
new file, and its line in `SHA256SUMS` (`sha256sum *.json > SHA256SUMS` in the folder).
"""

import hashlib
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.protocol.vectors import FOLDER, READERS, Vector, agrees, load, plain
from tests.unit.records import batches, further, snapshots, transitions
from zenvark_web import MalformedEntryError
from zenvark_web._core.states import CircuitSnapshot, Transition
from zenvark_web.backends._decoding import (
    decode_account,
    decode_batch,
    decode_presence,
    decode_snapshot,
    decode_state_entry,
    decode_transition,
)
from zenvark_web.backends._encoding import (
    encode_account,
    encode_batch,
    encode_presence,
    encode_snapshot,
    encode_transition,
)
from zenvark_web.backends.base import Account, Batch, Presence

VECTORS = load()
SUMS = FOLDER / "SHA256SUMS"


def read(vector: Vector) -> object:
    """What this version makes of an entry."""
    try:
        return READERS[vector.of](vector.entry)
    except MalformedEntryError as error:
        return error


@pytest.mark.parametrize("vector", VECTORS, ids=lambda vector: vector.name)
def test_entries_mean_what_they_meant(vector: Vector) -> None:
    found = read(vector)
    if vector.means is None:
        assert isinstance(found, MalformedEntryError)
    else:
        assert agrees(plain(found), vector.means)


def test_files_are_frozen() -> None:
    listed = dict(reversed(line.split()) for line in SUMS.read_text().splitlines())
    present = {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in FOLDER.glob("*.json")
    }
    assert present == listed, "vectors are never changed: put new ones into a new file, and list it"


def test_every_key_has_entries_that_are_read_and_refused() -> None:
    for of in READERS:
        refused = {vector.means is None for vector in VECTORS if vector.of == of}
        assert refused == {True, False}, of


SHORT_SNAPSHOT = 6
FIELDS = st.dictionaries(
    st.text(st.characters(categories=["Ll"]), min_size=9, max_size=12), st.text(max_size=9)
)
"""Fields of no version: none of ours is as long."""


class TestFurtherParts:
    """Further elements, keys and fields do not change the meaning of the rest."""

    @given(batches, FIELDS, st.data())
    def test_of_a_batch(self, batch: Batch, fields: dict[str, str], data: st.DataObject) -> None:
        stored = encode_batch(batch)
        reports = [data.draw(further(report)) for report in json.loads(stored["reports"])]
        for report in reports:
            report[1] = [data.draw(further(run)) for run in report[1]]
            report[3] = report[3] and data.draw(further(report[3]))
        words = [word and data.draw(further(word)) for word in json.loads(stored["words"])]
        for word in filter(None, words):
            word[4] = word[4] and data.draw(further(word[4]))
        stored |= {"reports": json.dumps(reports), "words": json.dumps(words)}
        assert decode_batch(fields | stored) == batch

    @given(transitions, FIELDS, st.data())
    def test_of_a_transition(
        self, transition: Transition, fields: dict[str, str], data: st.DataObject
    ) -> None:
        stored = json.loads(encode_transition(transition))
        for name in ("grant", "ramp"):
            if stored.get(name):
                stored[name] = data.draw(further(stored[name]))
        text = json.dumps(fields | stored)
        assert decode_transition(text) == transition
        assert decode_state_entry({**fields, "transition": text}) == transition

    @given(snapshots, st.data())
    def test_of_a_snapshot(self, snapshot: CircuitSnapshot, data: st.DataObject) -> None:
        stored = json.loads(encode_snapshot(snapshot))
        stored += [[]] * (len(stored) == SHORT_SNAPSHOT)  # whoever writes more writes this as well
        if stored[3]:
            stored[3] = data.draw(further(stored[3]))
            stored[3][2] = [data.draw(further(failure)) for failure in stored[3][2]]
        stored[4] = stored[4] and data.draw(further(stored[4]))
        assert decode_snapshot(json.dumps(data.draw(further(stored)))) == snapshot

    @given(FIELDS, st.data())
    def test_of_an_instance_and_its_account(
        self, fields: dict[str, str], data: st.DataObject
    ) -> None:
        presence = Presence("web-1", "1.2.3", "f00d", can=frozenset({"ramp"}))
        stored = json.dumps(fields | json.loads(encode_presence(presence)))
        assert decode_presence("web-1", stored) == presence
        account = Account(1, 2, 3, 4)
        longer = data.draw(further(json.loads(encode_account(account))))
        assert decode_account(json.dumps(longer)) == account
