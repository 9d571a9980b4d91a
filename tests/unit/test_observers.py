"""Which instances only observe a circuit, as read from what they write about their policies."""

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from zenvark_web import BreakerPolicy
from zenvark_web._core.policy import PolicyBook
from zenvark_web.backends.observers import NOBODY, Observers, observers_of, read_observed

NAMES = st.text("ab*?", min_size=1, max_size=4)


@given(st.booleans(), st.dictionaries(NAMES, st.booleans(), max_size=5), st.text("ab", min_size=1))
def test_what_is_read_is_what_applies(
    default: bool, observed: dict[str, bool], circuit: str
) -> None:
    policies = {name: BreakerPolicy(observe=each) for name, each in observed.items()}
    book = PolicyBook(BreakerPolicy(observe=default), policies)
    read = read_observed({"digest": book.local_text})
    assert (circuit in read["digest"]) is book[circuit].observe


def test_instances_with_unknown_settings_are_not_counted() -> None:
    observing = PolicyBook(BreakerPolicy(observe=True), {}).local_text
    enforcing = PolicyBook(BreakerPolicy(), {}).local_text
    read = read_observed({"a": observing, "b": enforcing})
    assert observers_of("x", Counter(a=2, b=1, c=5), read) == Observers(2, 3)
    assert observers_of("x", Counter(a=2), read).are_all
    assert observers_of("x", Counter(c=1), read) == NOBODY
    assert not NOBODY.are_all


def test_texts_of_another_origin_are_left_out() -> None:
    assert read_observed({"a": ": observe=True", "b": "x" * 300 + ": observe=True", "c": "x"}) == {}
