"""The sums by which each result becomes something once: batches in flight, and accounts of them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.helpers.instances import make_instance
from zenvark_web import ResultsLostError
from zenvark_web._circuits import batches
from zenvark_web._circuits.batches import InFlightBatches
from zenvark_web._core.states import Report, Run
from zenvark_web._judging import accounts
from zenvark_web._judging.accounts import Accounts
from zenvark_web.backends.base import Account, Batch


class Sender:
    """Its batches in flight, its counters, and what it surfaces."""

    def __init__(self) -> None:
        self.now = 100.0
        instance = make_instance(monotonic=lambda: self.now)
        self.statistics = instance.statistics
        self.batches = InFlightBatches(instance)

    def send(self, number: int, results: int) -> None:
        self.statistics.recorded += results
        self.batches.add(number, results)

    @property
    def became(self) -> tuple[int, int, int]:
        counted = self.statistics
        return counted.evaluated, counted.expired, counted.dropped

    @property
    def lost(self) -> int:
        return self.statistics.errors[ResultsLostError.__name__]


@pytest.fixture
def sender() -> Sender:
    return Sender()


def batch(number: int, results: int, instance: str = "web-1") -> Batch:
    run = Run(0, failed=False, slow=False, count=results, age=0.0, label="")
    return Batch(instance, number, 0.0, (Report("upstream", (run,)),))


class TestInFlightBatches:
    def test_what_the_account_tells_is_settled(self, sender: Sender) -> None:
        for number in (1, 2, 3):
            sender.send(number, 10)
        sender.batches.acknowledge(Account(1, 2, evaluated=17, expired=3))
        assert sender.became == (17, 3, 0)
        sender.batches.acknowledge(Account(1, 3, evaluated=27, expired=3))
        assert sender.became == (27, 3, 0)

    def test_what_it_leaves_out_was_dropped(self, sender: Sender) -> None:
        for number in (1, 2, 3):
            sender.send(number, 10)
        sender.batches.acknowledge(Account(1, 3, evaluated=20))
        assert sender.became == (20, 0, 10)

    def test_same_or_older_account_says_nothing_new(self, sender: Sender) -> None:
        sender.send(1, 10)
        sender.send(2, 10)
        for _ in range(2):
            sender.batches.acknowledge(Account(1, 2, evaluated=20))
        sender.batches.acknowledge(Account(1, 1, evaluated=10))
        assert sender.became == (20, 0, 0)

    def test_account_that_began_anew_goes_on(self, sender: Sender) -> None:
        sender.send(1, 10)
        sender.batches.acknowledge(Account(1, 1, evaluated=10))
        sender.send(2, 10)  # the store loses this one, and the account
        sender.send(3, 5)
        sender.batches.acknowledge(Account(3, 3, evaluated=5))
        assert sender.became == (15, 0, 10)

    def test_batch_given_up_is_dropped(self, sender: Sender) -> None:
        sender.send(1, 10)
        sender.send(2, 7)
        sender.batches.give_up()
        assert sender.became == (0, 0, 7)
        sender.batches.acknowledge(Account(1, 1, evaluated=10))
        assert sender.became == (10, 0, 7)

    def test_nothing_to_give_up(self, sender: Sender) -> None:
        sender.batches.give_up()
        assert sender.became == (0, 0, 0)

    def test_is_bounded_and_still_adds_up(
        self, sender: Sender, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(batches, "MAX_BATCHES", 10)
        for number in range(1, 101):
            sender.send(number, 2)
        assert len(sender.batches._batches) == 10
        sender.batches.acknowledge(Account(1, 100, evaluated=200))
        assert sender.became == (200, 0, 0)

    @given(
        st.lists(st.integers(1, 50), max_size=20),
        st.lists(st.builds(Account, *[st.integers(0, 60)] * 4), max_size=8),
    )
    def test_whatever_accounts_say_no_result_becomes_two_things(
        self, batches: list[int], told: list[Account]
    ) -> None:
        sender = Sender()
        for number, results in enumerate(batches, start=1):
            sender.send(number, results)
        for account in told:
            sender.batches.acknowledge(account)
            sender.batches.acknowledge(account)
            assert min(sender.became) >= 0
            assert sum(sender.became) <= sum(batches)
        sender.batches.acknowledge(Account(61, 100))  # a store that has kept nothing
        assert sum(sender.became) == sum(batches)

    def test_losses_are_told_in_sum_and_now_and_then(self, sender: Sender) -> None:
        sender.batches.report_losses()
        assert sender.lost == 0
        sender.statistics.dropped += 1
        for _ in range(3):
            sender.statistics.expired += 1
            sender.batches.report_losses()
        assert sender.lost == 1
        sender.now += batches.LOSSES_INTERVAL
        for _ in range(3):
            sender.batches.report_losses()
        assert sender.lost == 2
        sender.now += batches.LOSSES_INTERVAL
        sender.batches.report_losses()
        assert sender.lost == 2


class TestAccounts:
    def test_add_up_by_instance(self) -> None:
        books = Accounts({})
        books.add(batch(1, 10), 3)
        books.add(batch(2, 10), 0)
        books.add(batch(7, 1, "web-2"), 0)
        assert books.unwritten == {
            "web-1": Account(1, 2, evaluated=17, expired=3),
            "web-2": Account(7, 7, evaluated=1),
        }

    def test_batch_counts_once(self) -> None:
        books = Accounts({})
        for number in (1, 2, 2, 1):
            books.add(batch(number, 10), 0)
        assert books.unwritten == {"web-1": Account(1, 2, evaluated=20)}

    def test_successor_goes_on_from_what_was_written(self) -> None:
        books = Accounts({"web-1": Account(1, 2, evaluated=20)})
        for number in (1, 2, 3):
            books.add(batch(number, 10), 0)
        assert books.unwritten == {"web-1": Account(1, 3, evaluated=30)}

    def test_what_changes_while_it_is_written_is_written_again(self) -> None:
        books = Accounts({})
        books.add(batch(1, 10), 0)
        under_way = dict(books.unwritten)
        books.add(batch(2, 10), 0)
        books.written(under_way)
        assert books.unwritten == {"web-1": Account(1, 2, evaluated=20)}
        books.written(dict(books.unwritten))
        assert books.unwritten == {}

    def test_are_bounded(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(accounts, "MAX_SENDERS", 3)
        books = Accounts({})
        for number in range(10):
            books.add(batch(1, 1, f"web-{number}"), 0)
        assert list(books.unwritten) == ["web-7", "web-8", "web-9"]
