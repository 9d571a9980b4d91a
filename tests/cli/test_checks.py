"""The checks of `doctor` on facts that no server here can be made to have."""

import pytest

from zenvark_web import Override, OverrideRecord, coordinator
from zenvark_web._core.states import Suspicion
from zenvark_web._judging import leader
from zenvark_web.backends import _read, views
from zenvark_web.backends.examination import Facts, Sample, ShardFacts
from zenvark_web.backends.views import Layout, SeenInstance, ShardView
from zenvark_web.cli.checks import findings
from zenvark_web.cli.findings import Finding, Level


def problems(facts: Facts, check: str) -> list[Finding]:
    return [each for each in findings(facts) if each.matters and each.check == check]


@pytest.mark.parametrize(
    ("info", "old"),
    [
        ({"redis_version": "6.0.20"}, True),
        ({"redis_version": "5.0"}, True),
        ({"redis_version": "rubbish"}, True),
        ({"redis_version": "6.2.0"}, False),
        ({"redis_version": "10.0.1"}, False),
        ({"redis_version": "7.2.4", "valkey_version": "9.0.0"}, False),
    ],
)
def test_an_old_server(info: dict[str, str], old: bool) -> None:
    found = problems(Facts(namespace="shop", info=info), "server")
    assert bool(found) is old
    assert all("Upgrade" in each.advice for each in found)


def test_a_server_that_is_nearly_full() -> None:
    info = {"maxmemory_policy": "noeviction", "maxmemory": 100, "used_memory": 95}
    [problem] = problems(Facts(namespace="shop", info=info), "memory")
    assert "95% of maxmemory is in use" in problem.text


@pytest.mark.parametrize("jump", [-3600.0, -0.5, 0.5, 3600.0])
def test_a_clock_that_jumps(jump: float) -> None:
    samples = [
        Sample(at, at + 0.01, 1e9 + at + (jump if at > 0.5 else 0)) for at in (0.0, 0.4, 1.0)
    ]
    [problem] = problems(Facts(namespace="shop", samples=samples), "clock")
    assert "the server's clock jumped by" in problem.text


@pytest.mark.parametrize("delay", [0.0, 0.3, 3.0])
def test_answers_that_take_long_are_no_jump(delay: float) -> None:
    samples = [
        Sample(0.0, 0.01, 1e9),
        Sample(1.0, 1.0 + delay, 1e9 + 1.0 + delay),
        Sample(5.0, 5.0 + delay, 1e9 + 5.0),
    ]
    assert problems(Facts(namespace="shop", samples=samples), "clock") == []


def test_versions_that_differ_are_a_note() -> None:
    instances = tuple(
        SeenInstance(
            name=f"web-{version}",
            role="follower",
            silence=1.0,
            version=version,
            policies="same",
            shards=1,
        )
        for version in ("0.1.0", "0.2.0")
    )
    view = ShardView(number=0, now=1e9, lease=None, instances=instances)
    facts = Facts(
        namespace="shop",
        layout=Layout(1, {1: [each.name for each in instances]}),
        shards=[ShardFacts(number=0, now=1e9, view=view)],
    )
    [found] = [each for each in findings(facts) if each.check == "versions"]
    assert found.level is Level.NOTE
    assert "0.2.0 on web-0.2.0" in found.text


def test_limits_are_those_of_the_fleet() -> None:
    assert views.SILENCE == leader.INSTANCE_SILENCE
    assert _read.MAX_SHARDS == coordinator.MAX_SHARDS


@pytest.mark.parametrize(("minutes", "level"), [(1, Level.NOTE), (10, Level.PROBLEM)])
def test_a_lasting_suspect_is_a_problem(minutes: int, level: Level) -> None:
    suspicion = Suspicion("web-1", 5, 0, 5, 1e9 - 60 * minutes, 1e9 + 30, 30)
    view = ShardView(number=0, now=1e9, lease=None, suspects=(("payments", suspicion),))
    facts = Facts(
        namespace="shop",
        layout=Layout(1, {1: ["web-1"]}),
        shards=[ShardFacts(number=0, now=1e9, view=view)],
    )
    [found] = [each for each in findings(facts) if each.check == "suspects"]
    assert found.level is level
    assert "1 suspect" in found.text


@pytest.mark.parametrize("in_force", [False, True])
def test_instances_that_ignore_overrides(in_force: bool) -> None:
    """A problem while one is in force, and worth a note before."""
    old = SeenInstance(
        name="web-old",
        role="follower",
        silence=1.0,
        version="0.1.0",
        policies="x",
        shards=1,
        can=frozenset(),
    )
    record = OverrideRecord(
        circuit="payments",
        mode=Override.FORCE_OPEN,
        reason="a test",
        actor="ops",
        at=1.0,
        until=100.0,
        number=1,
    )
    view = ShardView(
        number=0,
        now=2.0,
        lease=None,
        instances=(old,),
        overrides=(record,) if in_force else (),
    )
    shards = [ShardFacts(number=0, now=2.0, view=view)]
    facts = Facts(namespace="shop", layout=Layout(1, {1: ["web-old"]}), shards=shards)
    [finding] = [each for each in findings(facts) if "are ignored by" in each.text]
    assert "web-old" in finding.text
    assert finding.level is (Level.PROBLEM if in_force else Level.NOTE)
