"""What a circuit learns from each request: once, and the right thing, whatever the client.

The first test finds out the table in docs/settlement.md, the last one compares. To write it anew:
`ZENVARK_WRITE_DOCS=1 pytest tests/http/test_outcomes.py`.
"""

import os
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import replace
from functools import cache
from typing import TypeAlias

import pytest

from tests.helpers.processes import ROOT
from tests.helpers.spanning import spanning
from tests.helpers.waiting import PATIENCE, eventually, eventually_sync
from tests.http.backstage import Backstage, backstage
from tests.http.circuits import half_opened, takes_a_call
from tests.http.clients import KINDS, Kind
from tests.http.conftest import PATIENT, RECOVERS_AT_ONCE
from tests.http.scenarios import SCENARIOS, Caller, Scenario
from zenvark_web import Breaker, BreakerPolicy, Cause, CircuitOpenError, Coordinator, Outcome

# What the bare libraries leave to the garbage collector, too, and trio does not like.
pytestmark = [
    pytest.mark.filterwarnings("ignore:Async generator .* was garbage collected"),
    pytest.mark.xdist_group("settlement"),  # the last test needs what the others found
]

NAMES = {(1, 0): "success", (0, 1): "failure", (0, 0): "ignored"}
COUNTS = {
    Outcome.SUCCESS: (1, 0),
    Outcome.FAILURE: (0, 1),
    Outcome.IGNORED: (0, 0),
    Outcome.ANSWERED: (0, 0),
}
CASES = [
    pytest.param(scenario, kind, id=f"{kind}-{scenario.name}")
    for kind in KINDS
    for scenario in SCENARIOS
    if scenario.fits(kind)
]
TRIALS = spanning(
    [
        case
        for case in CASES
        if str(case.values[1]) in {"httpx-asyncio", "httpx2-trio", "httpx2-sync"}
    ],
    lambda case: str(case[1]) == "httpx-asyncio",
)
PAGE = ROOT / "docs" / "settlement.md"
BEGIN, END = "<!-- table: written by tests/http/test_outcomes.py -->", "<!-- end -->"

Found = dict[tuple[str, str], str]


@pytest.fixture(scope="module")
def stage() -> Iterator[Backstage]:
    with backstage() as running:
        yield running


For: TypeAlias = Callable[[Scenario], Coordinator]


@pytest.fixture(scope="module")
def patient(stage: Backstage) -> For:
    """Coordinators whose circuits never open."""
    return with_limits(stage, PATIENT)


@pytest.fixture(scope="module")
def recovering(stage: Backstage) -> For:
    """Coordinators whose circuits open at once, and try to recover at once."""
    return with_limits(stage, RECOVERS_AT_ONCE)


def with_limits(stage: Backstage, policy: BreakerPolicy) -> For:
    """Starts a coordinator for the limits of a scenario."""

    @cache
    def start(limits: frozenset[tuple[str, float]]) -> Coordinator:
        return stage.start(replace(policy, **dict(limits)))

    return lambda scenario: start(frozenset(scenario.limits.items()))


@pytest.fixture(scope="module")
def found() -> Found:
    """The outcomes as they are found out, by scenario and kind of client."""
    return {}


class Play:
    """A scenario played to its end. What it left is kept, so that nothing is settled by deleting.

    Attributes:
        counted: What had been counted when the client was still open.
    """

    def __init__(
        self, scenario: Scenario, kind: Kind, stage: Backstage, coordinator: Coordinator
    ) -> None:
        stage.set(scenario.answer)
        self.breaker = coordinator.breaker(f"{kind} {scenario.name}")
        self._scenario = scenario
        self._stage = stage
        if scenario.limits:
            stage.let_go_when_counted(self.breaker)
        inner = scenario.inner(kind)
        transport = kind.guarded(
            coordinator,
            inner,
            circuits=lambda _: self.breaker.name,
            when_open="raise",
            **scenario.settings,
        )
        client = kind.client(transport, base_url=stage.upstream.url, timeout=PATIENCE)
        self._caller = Caller(kind, client, inner, stage)
        if kind.sync:
            self._play_sync()
        else:
            kind.run(self._play)

    async def _play(self) -> None:
        error = self._scenario.error(self._caller.kind)
        async with self._caller.client:
            with pytest.raises(error) if error else nullcontext() as self._caught:
                self._kept = await self._scenario.use[0](self._caller)
            self.counted = self._stage.counts(self.breaker)

    def _play_sync(self) -> None:
        use = self._scenario.use[1]
        assert use is not None
        error = self._scenario.error(self._caller.kind)
        with self._caller.client:
            with pytest.raises(error) if error else nullcontext() as self._caught:
                self._kept = use(self._caller)
            self.counted = self._stage.counts(self.breaker)


@pytest.mark.parametrize(("scenario", "kind"), CASES)
def test_each_request_counts_once(
    scenario: Scenario, kind: Kind, stage: Backstage, patient: For, found: Found
) -> None:
    played = Play(scenario, kind, stage, patient(scenario))
    answered = scenario.outcome is Outcome.ANSWERED  # which only a trial can tell
    found[scenario.name, str(kind)] = "answered" if answered else NAMES[played.counted]
    assert played.counted == COUNTS[scenario.outcome]
    assert stage.counts(played.breaker) == played.counted, "closing the client changed it"
    assert not stage.errors


@pytest.mark.parametrize(("scenario", "kind"), TRIALS)
def test_each_trial_ends(scenario: Scenario, kind: Kind, stage: Backstage, recovering: For) -> None:
    """A half-open circuit with one permit closes, opens, or has its permit back."""
    coordinator = recovering(scenario)
    breaker = coordinator.breaker(f"{kind} {scenario.name}")
    stage.do(half_opened(breaker))
    played = eventually_sync(
        lambda: let_through(scenario, kind, stage, coordinator), within=PATIENCE
    )
    outcome = scenario.on_trial or scenario.outcome
    if outcome is Outcome.IGNORED:
        stage.do(eventually(lambda: takes_a_call(breaker), within=PATIENCE))
        assert verdicts(stage, breaker) == []
        eventually_sync(lambda: succeeds(breaker), within=PATIENCE)
    failed = outcome is Outcome.FAILURE
    [verdict] = eventually_sync(lambda: verdicts(stage, breaker), within=PATIENCE)
    assert verdict is (Cause.TRIAL_FAILED if failed else Cause.TRIAL_PASSED)
    del played


def let_through(
    scenario: Scenario, kind: Kind, stage: Backstage, coordinator: Coordinator
) -> Play | None:
    """A permit that waits too long on a busy host goes back, and has to be granted again."""
    try:
        return Play(scenario, kind, stage, coordinator)
    except CircuitOpenError:
        return None


def succeeds(breaker: Breaker) -> bool:
    try:
        breaker.acquire().record(Outcome.SUCCESS)
    except CircuitOpenError:
        return False
    return True


def verdicts(stage: Backstage, breaker: Breaker) -> list[Cause]:
    ends = {Cause.TRIAL_PASSED, Cause.TRIAL_FAILED}
    return [
        change.reason.cause
        for change in stage.changes
        if change.name == breaker.name and change.reason.cause in ends
    ]


def test_the_documentation_has_the_table(found: Found) -> None:
    missing = [case.id for case in CASES if (case.values[0].name, str(case.values[1])) not in found]
    if missing:
        return  # only some of the scenarios were to be played
    head, _, rest = PAGE.read_text().partition(BEGIN)
    expected = f"{head}{BEGIN}\n\n{table(found)}\n\n{END}{rest.partition(END)[2]}"
    if os.environ.get("ZENVARK_WRITE_DOCS"):
        PAGE.write_text(expected)
    assert PAGE.read_text() == expected, "write it anew with ZENVARK_WRITE_DOCS=1"


def table(found: Found) -> str:
    lines = [
        "| case | " + " | ".join(str(kind).replace("-", ", ") for kind in KINDS) + " |",
        "|---" * (len(KINDS) + 1) + "|",
    ]
    for scenario in SCENARIOS:
        outcomes = (found.get((scenario.name, str(kind)), "-") for kind in KINDS)
        lines.append(f"| {scenario.name} | {' | '.join(outcomes)} |")
    return "\n".join(lines)
