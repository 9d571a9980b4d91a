"""Policies are checked on arrival; a book finds the right one and can be compared."""

import re
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zenvark_web import (
    Backoff,
    BreakerPolicy,
    ConsecutiveFailures,
    ConstantBackoff,
    CountWindow,
    ExponentialBackoff,
    HealthCheck,
    HealthCheckType,
    Outcome,
    Strategy,
    TimeWindow,
    Window,
)
from zenvark_web._core.policy import NamedHealthCheck, PolicyBook

DEFAULT = BreakerPolicy()


async def check(kind: HealthCheckType) -> None:
    """Passes."""


class CheckByName:
    """One check for many circuits."""

    def for_circuit(self, name: str) -> HealthCheck:
        async def check_one(kind: HealthCheckType) -> None:
            raise RuntimeError(name)

        return check_one


@dataclass
class CheckWith:
    """A check with settings, one of which nobody can compare."""

    client: object
    path: str = "/health"

    async def __call__(self, kind: HealthCheckType) -> None:
        """Passes."""


class OwnStrategy:
    """A user's own."""

    def window(self) -> Window:
        return ConsecutiveFailures(1).window()


class OwnBackoff:
    """A user's own."""

    def delay(self, attempt: int, chance: float) -> float:
        return 1.0


def classify(ended: object) -> Outcome:
    return Outcome.SUCCESS


def policy(number: int) -> BreakerPolicy:
    return BreakerPolicy(strategy=ConsecutiveFailures(number))


class TestPolicy:
    def test_defaults(self) -> None:
        assert DEFAULT.strategy == ConsecutiveFailures(5)
        assert DEFAULT.backoff == ExponentialBackoff(1, 2, 60, 0.1)
        assert (DEFAULT.healthy_after, DEFAULT.trial_calls) == (1, 1)
        assert DEFAULT.health_check is DEFAULT.idle_interval is DEFAULT.slow_call is None
        assert DEFAULT.first_chunk is DEFAULT.stall is None

    def test_is_a_value(self) -> None:
        assert BreakerPolicy() == DEFAULT
        assert hash(replace(DEFAULT, healthy_after=2)) != hash(DEFAULT)
        with pytest.raises(AttributeError):
            DEFAULT.healthy_after = 2  # type: ignore[misc]

    def test_takes_keywords_only(self) -> None:
        with pytest.raises(TypeError):
            BreakerPolicy(ConsecutiveFailures(5))  # type: ignore[misc]

    def test_takes_what_users_wrote_themselves(self) -> None:
        strategy, backoff = OwnStrategy(), OwnBackoff()
        assert isinstance(strategy, Strategy)
        assert isinstance(backoff, Backoff)
        own = BreakerPolicy(strategy=strategy, backoff=backoff, classify=classify)
        assert (own.strategy, own.backoff, own.classify) == (strategy, backoff, classify)

    @pytest.mark.parametrize(
        ("settings", "error", "says"),
        [
            *[
                ({"strategy": bad}, TypeError, "such as ConsecutiveFailures(5)")
                for bad in (5, None, ConsecutiveFailures, OwnStrategy)
            ],
            *[
                ({"backoff": bad}, TypeError, "such as ConstantBackoff(5)")
                for bad in (5, None, ExponentialBackoff)
            ],
            ({"health_check": "http://x/"}, TypeError, "health_check must be callable"),
            ({"classify": Outcome.SUCCESS}, TypeError, "classify must be callable"),
            *[
                ({name: bad}, TypeError, f"{name} must be a whole number")
                for name in ("healthy_after", "trial_calls")
                for bad in ("1", 1.0, None, True)
            ],
            *[
                ({name: 0}, ValueError, f"{name} must be at least 1, not 0")
                for name in ("healthy_after", "trial_calls")
            ],
            *[
                ({name: 1001}, ValueError, f"{name} must be at most 1000, not 1001")
                for name in ("healthy_after", "trial_calls")
            ],
            ({"first_chunk": "1"}, TypeError, "first_chunk must be a number of seconds"),
            ({"first_chunk": 0}, ValueError, "first_chunk must be above 0"),
            ({"stall": float("inf")}, ValueError, "stall must be finite"),
            ({"slow_call": "1"}, TypeError, "slow_call must be a number of seconds"),
            ({"slow_call": 0}, ValueError, "slow_call must be above 0"),
            ({"slow_call": 1e13}, ValueError, "slow_call must be at most 1e+09"),
            ({"slow_call": float("inf")}, ValueError, "slow_call must be finite"),
            ({"max_retry_after": None}, TypeError, "max_retry_after must be a number of seconds"),
            ({"max_retry_after": -1}, ValueError, "max_retry_after must be at least 0"),
            ({"max_retry_after": 86_401}, ValueError, "max_retry_after must be at most 86400"),
            ({"idle_interval": "1", "health_check": check}, TypeError, "idle_interval"),
            ({"idle_interval": 0, "health_check": check}, ValueError, "idle_interval"),
            ({"idle_interval": 1e-9, "health_check": check}, ValueError, "at least 0.001"),
            ({"idle_interval": 1e10, "health_check": check}, ValueError, "at most 1e+09"),
            ({"idle_interval": 60}, ValueError, "idle_interval requires a health_check"),
            ({"cut_off": "alone"}, ValueError, "cut_off must be 'hold' or 'local'"),
        ],
    )
    def test_illegal_settings_are_refused(
        self, settings: dict[str, Any], error: type[Exception], says: str
    ) -> None:
        with pytest.raises(error, match=re.escape(says)):
            BreakerPolicy(**settings)


class TestHealthCheckOf:
    def test_plain_check_is_everyones(self) -> None:
        assert BreakerPolicy(health_check=check).health_check_of("payments") is check

    async def test_named_check_gets_the_name(self) -> None:
        named = CheckByName()
        assert isinstance(named, NamedHealthCheck)
        run = BreakerPolicy(health_check=named).health_check_of("payments")
        with pytest.raises(RuntimeError, match="payments"):
            await run(HealthCheckType.RECOVERY)

    def test_there_may_be_none(self) -> None:
        with pytest.raises(ValueError, match="'payments' has no health check"):
            DEFAULT.health_check_of("payments")


class TestBook:
    BOOK = PolicyBook(
        DEFAULT,
        {
            "*": policy(1),
            "*.com": policy(2),
            "api.stripe.com": policy(3),
            "*.stripe.com": policy(4),
            "api.*.com": policy(5),
            "node-?": policy(6),
            "a+b*": policy(7),
        },
    )

    @pytest.mark.parametrize(
        ("circuit", "number"),
        [
            ("api.stripe.com", 3),  # the exact name
            ("files.stripe.com", 4),  # the most literal of three patterns
            ("api.github.com", 5),
            ("github.com", 2),
            ("localhost", 1),
            ("node-1", 6),
            ("node-12", 1),  # a question mark is one character
            ("a+bc", 7),
            ("aabc", 1),  # and a plus is a plus
            (".stripe.com", 4),  # an asterisk may stand for nothing
        ],
    )
    def test_finds_the_closest(self, circuit: str, number: int) -> None:
        assert self.BOOK[circuit] == policy(number)

    def test_falls_back_to_the_default(self) -> None:
        book = PolicyBook(DEFAULT, {"payments": policy(1), "pay?": policy(2)})
        assert book["orders"] is DEFAULT
        assert book["payment"] is DEFAULT
        assert PolicyBook(DEFAULT, {})["anything"] is DEFAULT

    def test_lists_all(self) -> None:
        assert DEFAULT in self.BOOK.all()
        assert len(self.BOOK.all()) == 8
        assert list(self.BOOK.exact) == ["api.stripe.com"]

    @pytest.mark.parametrize(
        ("default", "policies", "error", "says"),
        [
            (None, {}, TypeError, "policy must be a BreakerPolicy, not None"),
            (DEFAULT, {"a": 5}, TypeError, "policies['a'] must be a BreakerPolicy, not 5"),
            (DEFAULT, {1: DEFAULT}, TypeError, "a name in policies must be a string"),
            (DEFAULT, {"": DEFAULT}, ValueError, "a name in policies must not be empty"),
            (DEFAULT, {"x" * 256: DEFAULT}, ValueError, "at most 255 characters, not 256"),
            (DEFAULT, {"a\nb": DEFAULT}, ValueError, "printable characters only"),
        ],
    )
    def test_illegal_books_are_refused(
        self, default: Any, policies: Any, error: type[Exception], says: str
    ) -> None:
        with pytest.raises(error, match=re.escape(says)):
            PolicyBook(default, policies)

    @given(st.text(min_size=1, max_size=20).filter(str.isprintable), st.data())
    def test_pattern_matches_what_it_was_made_from(self, name: str, data: st.DataObject) -> None:
        cut = data.draw(st.integers(0, len(name)))
        plain = re.sub(r"[*?]", "x", name)
        pattern = plain[:cut] + "*" + plain[data.draw(st.integers(cut, len(name))) :]
        book = PolicyBook(DEFAULT, {pattern: policy(1)})
        assert book[plain] == policy(1)
        assert book["\N{SNOWMAN}" + plain[:cut] + "\N{SNOWMAN}"] in (DEFAULT, policy(1))


class TestFingerprint:
    @staticmethod
    def of(default: BreakerPolicy = DEFAULT, **policies: BreakerPolicy) -> str:
        return PolicyBook(default, policies).fingerprint

    def test_equal_books_have_equal_ones(self) -> None:
        assert self.of(BreakerPolicy()) == self.of(DEFAULT)
        assert self.of(a=policy(1), b=policy(2)) == self.of(b=policy(2), a=policy(1))
        assert re.fullmatch("[0-9a-f]{16}", self.of())

    def test_whole_seconds_are_the_same_as_floats(self) -> None:
        whole = BreakerPolicy(
            strategy=TimeWindow(60, 1), backoff=ExponentialBackoff(1, 2, 60), slow_call=1
        )
        floats = BreakerPolicy(
            strategy=TimeWindow(60.0, 1.0),
            backoff=ExponentialBackoff(1.0, 2.0, 60.0),
            slow_call=1.0,
        )
        assert whole == floats
        assert self.of(whole) == self.of(floats)

    def test_functions_and_own_classes_are_named_not_compared(self) -> None:
        """Nothing in it may hold an address, which differs from process to process."""

        def make() -> BreakerPolicy:
            return BreakerPolicy(
                strategy=OwnStrategy(),
                backoff=OwnBackoff(),
                health_check=CheckWith(client=object()),
                classify=partial(classify),
            )

        assert self.of(make()) == self.of(make())

    @pytest.mark.parametrize(
        "other",
        [
            BreakerPolicy(strategy=ConsecutiveFailures(6)),
            BreakerPolicy(strategy=CountWindow(5, 0.5)),
            BreakerPolicy(strategy=CountWindow(5, 0.6)),
            BreakerPolicy(strategy=OwnStrategy()),
            BreakerPolicy(health_check=check),
            BreakerPolicy(health_check=CheckByName()),
            BreakerPolicy(health_check=CheckWith(None)),
            BreakerPolicy(health_check=check, idle_interval=60),
            BreakerPolicy(backoff=ConstantBackoff(5)),
            BreakerPolicy(backoff=ExponentialBackoff(jitter=0.2)),
            BreakerPolicy(healthy_after=2),
            BreakerPolicy(trial_calls=2),
            BreakerPolicy(slow_call=1),
            BreakerPolicy(max_retry_after=1),
            BreakerPolicy(classify=classify),
        ],
    )
    def test_any_setting_makes_another(self, other: BreakerPolicy) -> None:
        assert self.of(other) != self.of()
        assert self.of(a=other) != self.of(a=DEFAULT)

    def test_settings_of_a_check_make_another(self) -> None:
        one, two = (BreakerPolicy(health_check=CheckWith(None, path)) for path in ("/a", "/b"))
        assert self.of(one) != self.of(two)

    def test_names_and_patterns_make_another(self) -> None:
        prints = [
            self.of(),
            self.of(a=DEFAULT),
            self.of(b=DEFAULT),
            PolicyBook(DEFAULT, {"a*": DEFAULT}).fingerprint,
            PolicyBook(DEFAULT, {"a?": DEFAULT}).fingerprint,
            self.of(policy(1), a=policy(2)),
            self.of(policy(2), a=policy(1)),
        ]
        assert len(set(prints)) == len(prints)


class TestTexts:
    def test_have_a_line_for_each_setting(self) -> None:
        book = PolicyBook(BreakerPolicy(trial_calls=2), {"pay*": BreakerPolicy(cut_off="local")})
        lines = book.text.splitlines()
        assert "(default): trial_calls=2.0" in lines
        assert "(default): strategy=ConsecutiveFailures(5.0)" in lines
        assert "pay*: trial_calls=1.0" in lines
        assert len(lines) == len(set(lines))

    def test_settings_that_concern_only_an_instance_have_a_text_of_their_own(self) -> None:
        alone = PolicyBook(BreakerPolicy(cut_off="local", observe=True, first_chunk=5), {})
        usual = PolicyBook(BreakerPolicy(), {})
        assert alone.local_text.splitlines() == [
            "(default): first_chunk=5.0",
            "(default): stall=None",
            "(default): cut_off='local'",
            "(default): observe=True",
        ]
        assert alone.local_text != usual.local_text
        assert alone.text == usual.text
        assert alone.fingerprint == usual.fingerprint
