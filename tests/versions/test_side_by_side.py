"""Two versions of this package in one fleet, each leading in turn.

The older one is the last that reads only what it knows; the newer one is the working tree; and one
after it is the working tree, which writes further parts wherever the format allows them.
"""

import asyncio
import json
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tests.helpers.processes import ChildProcess
from tests.helpers.servers import ServerHandle
from tests.helpers.waiting import eventually
from tests.versions.environments import FIRST, MEMBER, of_commit, of_this

pytestmark = pytest.mark.slow

TRIALS = 2
BASE = {"trial_calls": TRIALS}
RAMP = {"ramp": [0.2, 0.5], "ramp_step": 0.5}


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return of_commit(FIRST, tmp_path_factory.mktemp("versions") / "first")


@pytest.fixture(scope="module")
def this(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return of_this(tmp_path_factory.mktemp("versions") / "this")


@dataclass
class Version:
    """A version, and its members of the fleet.

    Args:
        name: What to call it.
        python: The interpreter of its environment.
        policy: Settings of its policy.
        arguments: Further arguments of its program.
        prefix: What its words for causes begin with.
        members: Its instances.
    """

    name: str
    python: Path
    policy: dict[str, Any]
    arguments: tuple[str, ...] = ()
    prefix: str = ""
    members: list[ChildProcess] = field(default_factory=list)


@dataclass
class Recovery:
    """What happened from an opening to the recovery."""

    admitted: Counter[tuple[int, str]] = field(default_factory=Counter)
    causes: Counter[str] = field(default_factory=Counter)
    errors: list[str] = field(default_factory=list)
    events: Counter[str] = field(default_factory=Counter)

    @property
    def unreadable(self) -> list[str]:
        return [error for error in self.errors if error.startswith("MalformedEntryError")]

    @property
    def while_open(self) -> int:
        return sum(count for (_, state), count in self.admitted.items() if state == "open")

    @property
    def trials(self) -> Counter[int]:
        """Calls of each half-open generation."""
        return Counter(
            {
                generation: count
                for (generation, state), count in self.admitted.items()
                if state == "half_open"
            }
        )


class Fleet:
    """Two instances of each version, all with traffic."""

    def __init__(self, *versions: Version) -> None:
        self._versions = versions

    @property
    def _members(self) -> Sequence[ChildProcess]:
        return [member for version in self._versions for member in version.members]

    async def all_do(self, do: str, **arguments: Any) -> list[Any]:
        return await asyncio.gather(*(each.acall(do, **arguments) for each in self._members))

    async def leads(self, version: Version) -> None:
        """Have an instance of a version lead."""
        others = [each for each in self._versions if each is not version]
        away = [member for other in others for member in other.members]
        await asyncio.gather(*(member.acall("stop") for member in away))

        async def led() -> bool:
            return await self._is_led_by(version)

        await eventually(led, what=f"an instance of {version.name} leads")
        await asyncio.gather(*(member.acall("start") for member in away))

    async def _is_led_by(self, version: Version) -> bool:
        states = [await member.acall("state") for member in version.members]
        return sum(state["leads"] for state in states) == 1

    async def agrees_on(self, *states: str, since: int = 0) -> int:
        """Wait until all instances are in the same generation after another one, in one of these
        states; return the generation."""

        async def agreed() -> tuple[int] | None:
            told = {(each["state"], each["generation"]) for each in await self.all_do("state")}
            [(state, generation), *others] = told
            return (generation,) if not others and state in states and generation > since else None

        (generation,) = await eventually(agreed, what=f"all are {states} after generation {since}")
        return generation

    async def opens_and_recovers(self, version: Version) -> Recovery:
        """Let the upstream fail for two recovery attempts, while an instance of a version leads."""
        await self.leads(version)
        await self.all_do("history")
        await self.all_do("upstream", well=False)
        opened = await self.agrees_on("open")
        await self.all_do("history")  # what began before all knew of it
        failing = await self.agrees_on("open", since=opened + 3)
        await self.all_do("upstream", well=True)
        await self.agrees_on("closed", since=failing)
        assert await self._is_led_by(version), "the leader has changed meanwhile"
        return await self.told()

    async def told(self) -> Recovery:
        recovery = Recovery()
        for told in await self.all_do("history"):
            for generation, state, count in told["admitted"]:
                recovery.admitted[generation, state] += count
            recovery.causes.update(told["causes"])
            recovery.errors += told["errors"]
            recovery.events.update(told["events"])
        return recovery


@pytest.fixture
def start(redis_server: ServerHandle, namespace: str) -> Iterator[Callable[..., Fleet]]:
    with ExitStack() as children:

        def made(*versions: Version) -> Fleet:
            for version in versions:
                for _ in range(2):
                    member = ChildProcess(
                        MEMBER,
                        *(redis_server.url, namespace, json.dumps(version.policy)),
                        *version.arguments,
                        python=version.python,
                        env={"PYTHONPATH": ""},
                    )
                    version.members.append(children.enter_context(member))
                    assert version.python.parents[1].name in member.call("identify")
                    member.call("start")
            return Fleet(*versions)

        yield made


def is_exact(recovery: Recovery) -> bool:
    """Whether no call was admitted that should not be: none while open, two for each trial."""
    return recovery.while_open == 0 and set(recovery.trials.values()) <= {1, TRIALS}


async def test_the_first_version_and_this_one(
    start: Callable[..., Fleet], first: Path, this: Path
) -> None:
    """Nobody begins a ramp, which the first version cannot read."""
    older, newer = Version("first", first, BASE), Version("this", this, BASE | RAMP)
    fleet = start(older, newer)
    for leading in (older, newer, older, newer):
        recovery = await fleet.opens_and_recovers(leading)
        assert is_exact(recovery), recovery
        assert recovery.unreadable == []
        assert recovery.causes["trial_passed"] == 4
        assert bool(recovery.events["held_up"]) is (leading is newer)


async def test_this_version_and_one_that_writes_further_parts(
    start: Callable[..., Fleet], this: Path, redis_server: ServerHandle, namespace: str
) -> None:
    known = Version("this", this, BASE | RAMP)
    later = Version("later", this, BASE | RAMP, ("--further",), prefix="new_")
    fleet = start(known, later)
    for leading in (known, later, known, later):
        key = f"zenvark:{{{namespace}}}:states"
        redis_server.command("XADD", key, "*", "v", "1", "weather", "sun")
        recovery = await fleet.opens_and_recovers(leading)
        assert recovery.while_open == 0
        assert recovery.unreadable == []
        assert recovery.causes[f"{leading.prefix}ramp_passed"] == 4
        assert recovery.events["held_up"] == 0
    assert all(state["unknown"] >= 4 for state in await fleet.all_do("state"))


async def test_overrides_of_this_version_and_of_one_that_writes_further_parts(
    start: Callable[..., Fleet], this: Path
) -> None:
    known = Version("this", this, BASE | RAMP)
    later = Version("later", this, BASE | RAMP, ("--further",), prefix="new_")
    fleet = start(known, later)
    for leading, operating in ((known, later), (later, known), (later, later)):
        await fleet.leads(leading)
        before = await fleet.agrees_on("closed", since=-1)
        await operating.members[0].acall("override", mode="force_open")
        forced = await fleet.agrees_on("open", since=before)
        await fleet.all_do("history")  # what began before all knew of it
        await operating.members[1].acall("override", mode=None)
        await fleet.agrees_on("closed", since=forced)
        recovery = await fleet.told()
        assert recovery.while_open == 0
        assert recovery.unreadable == []
        assert recovery.causes[f"{leading.prefix}ramp_passed"] == 4
