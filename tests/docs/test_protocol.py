"""docs/redis-layout.md against the code, and against what a real server holds after a real run."""

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields, replace
from functools import cache
from itertools import zip_longest
from types import UnionType
from typing import Any, get_args, get_origin, get_type_hints

import pytest

from tests.docs.pages import items, page, rows
from tests.faults.fleet import Fleet
from tests.helpers.processes import ROOT
from tests.helpers.servers import ServerHandle
from tests.helpers.waiting import PATIENCE, eventually
from zenvark_web import Override, State
from zenvark_web._coordination import election
from zenvark_web._core.failure_kinds import FailureKind
from zenvark_web._core.order import START, Lease, Position
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
    Suspect,
    Suspicion,
    Transition,
    TrialNote,
    TrialResults,
    WindowSnapshot,
)
from zenvark_web._judging import leader
from zenvark_web.backends import RedisBackend, _encoding, _slices
from zenvark_web.backends._replies import POSITION
from zenvark_web.backends.base import Account, Batch, OverrideRequest, Presence, Probe
from zenvark_web.backends.redis import KEYS

PAGE = page("redis-layout.md")
SCRIPTS = sorted(path.stem for path in (ROOT / "zenvark_web/backends/scripts").glob("*.lua"))


def words(text: str) -> list[str]:
    """What stands in code font."""
    return re.findall(r"`([^`]+)`", text)


def listed(what: str) -> list[str]:
    """The elements of a list that the page shows as `[a, b]` after some words."""
    [found] = re.findall(rf"{what}\s+(?:null, or )?`\[([^]]+)\]`", PAGE)
    return [str(element).strip('"') for element in re.split(r",\s*", found)]


REPORT = listed("A report is")
KNOWN_STATE = listed("for each report, how its circuit stands:")
RUN = listed("`runs`: a list of")
NOTE = listed("- `trial`:")
GRANT = listed(r"\| `grant` \|")
ACCOUNT = listed("field in `accounts` is")
SNAPSHOT = listed("A circuit's field is")
WINDOW = listed("the window of a closed circuit,")
SUSPICION = listed(r"suspects`: the instances [^`]*each as")
RESULTS_OF_TRIAL = listed("how the trial calls of a half-open circuit have ended,")
TRANSITION = [name for row in rows(PAGE, "## An entry of `states`") for name in words(row[0])]
RESULTS = [name for row in rows(PAGE, "## An entry of `results`") for name in words(row[0])]
STATES = [words(item) for item in items(PAGE, "## An entry of `states`")]
[AUDIT] = [words(item) for item in items(PAGE, "## Overrides")]


# The code's records


def sample(hint: Any) -> Any:
    """Some value of a type that no record has by default."""
    if get_origin(hint) is UnionType:
        hint = get_args(hint)[0]
    if get_origin(hint) is tuple:
        return (sample(get_args(hint)[0]),)
    if hint is KnownState:
        return KnownState(State.OPEN)
    if hint in {Run, TrialNote}:
        return hint(**{name: sample(of) for name, of in get_type_hints(hint).items()})
    if hint is FailureKind:
        return FailureKind.POOL
    return {bool: True, int: 7, float: 7.0, str: "other"}[hint]


@cache
def changes(record: Any) -> dict[str, Any]:
    """The record with one of its fields changed, by the field's name."""
    hints = get_type_hints(type(record))
    return {
        field.name: replace(record, **{field.name: sample(hints[field.name])})
        for field in fields(record)
    }


def packed(report: Report) -> Sequence[Any]:
    """A report as it is stored."""
    [stored] = json.loads(_encoding.encode_batch(Batch("web-1", 1, 0.0, (report,)))["reports"])
    return list(stored)


def differences(one: Sequence[Any], other: Sequence[Any]) -> list[int]:
    """The places at which they differ."""
    pairs = zip_longest(one, other)
    return [place for place, (mine, yours) in enumerate(pairs) if mine != yours]


PLAIN = Report(
    "payments",
    (Run(0, failed=False, slow=False, count=1, failure_kind=FailureKind.OTHER),),
    trial=TrialNote(0, 0, 0),
)
SEPARATE = {"known_state", "protects_itself", "uncounted"}
"""Parts of a report that have fields of their own in an entry."""
LONGEST = max(map(packed, changes(PLAIN).values()), key=len)


@pytest.mark.parametrize(
    "name", [field.name for field in fields(Report) if field.name not in SEPARATE]
)
def test_elements_of_a_report(name: str) -> None:
    changed = changes(PLAIN)[name]
    assert differences(packed(PLAIN), packed(changed)) == [REPORT.index(name)]


def test_reports_hold_nothing_else() -> None:
    assert len(REPORT) == len(LONGEST)
    described = [words(item)[0] for item in items(PAGE, "## An entry of `results`")]
    assert [name for name in REPORT if name != "circuit"] == described


@pytest.mark.parametrize(
    "name", [field.name for field in fields(Run) if field.name != "failure_kind"]
)
def test_elements_of_a_run(name: str) -> None:
    [run] = PLAIN.runs
    [one], [other] = packed(PLAIN)[1], packed(replace(PLAIN, runs=(changes(run)[name],)))[1]
    assert differences(one, other) == [
        RUN.index({"failed": "kind", "slow": "kind"}.get(name, name))
    ]
    assert len(one) == len(RUN)


def test_kinds_of_failures_have_a_field_of_their_own() -> None:
    runs = (Run(0, True, False, 1, failure_kind=FailureKind.POOL), Run(0, False, False, 1))
    batch = Batch("web-1", 1, 0.0, (Report("payments", runs), Report("bank", runs[1:])))
    entry = _encoding.encode_batch(batch)
    assert json.loads(entry["kinds"]) == {"payments": ["pool", None]}
    [told] = re.findall(r"field `kinds`: (.*?)\n\n", PAGE, re.DOTALL)
    assert set(words(told)) == set(FailureKind)


def test_kinds_of_runs() -> None:
    assert "0 for successes, 1 for failures, plus 2 if they were slow" in " ".join(PAGE.split())
    kinds = {
        (failed, slow): packed(replace(PLAIN, runs=(Run(0, failed, slow, 1),)))[1][0][2]
        for failed in (False, True)
        for slow in (False, True)
    }
    assert kinds == {(False, False): 0, (True, False): 1, (False, True): 2, (True, True): 3}


def test_elements_of_the_small_lists() -> None:
    assert [field.name for field in fields(TrialNote)] == NOTE
    assert [field.name for field in fields(Grant)] == GRANT
    version, *sums = ACCOUNT
    assert [field.name for field in fields(Account)] == sums
    assert json.loads(_encoding.encode_account(Account(1, 2, 3, 4))) == [version, 1, 2, 3, 4]
    assert [field.name for field in fields(KnownState)] == [*KNOWN_STATE, "ramp", "elapsed"]
    word = KnownState(State.HALF_OPEN, 2, 1.5, 0.5, Grant(holder="web-1", permits=2, passed=1))
    batch = _encoding.encode_batch(
        Batch("web-1", 1, 0.0, (PLAIN, replace(PLAIN, known_state=word)))
    )
    assert json.loads(batch["words"]) == [None, ["half_open", 2, 1500, 500, ["web-1", 2, 1]]]
    note, grant = TrialNote(1, 2, 3), Grant(holder="web-1", permits=2, passed=1)
    assert packed(replace(PLAIN, trial=note))[REPORT.index("trial")] == [1, 2, 3]
    transition = json.loads(_encoding.encode_transition(Transition(circuit="x", grant=grant)))
    assert transition["grant"] == ["web-1", 2, 1]


def test_ramp() -> None:
    ramp = Ramp((0.1, 0.5), 5.0)
    text = " ".join(PAGE.split())
    assert "also has `ramp`: `[shares, step]`" in text
    transition = json.loads(_encoding.encode_transition(Transition(circuit="x", ramp=ramp)))
    assert transition["ramp"] == [[0.1, 0.5], 5000]
    assert (
        "also has a field `ramps`: JSON, by the circuit's name, `[shares, step, elapsed]`" in text
    )
    word = KnownState(State.HALF_OPEN, ramp=ramp, elapsed=1.5)
    batch = _encoding.encode_batch(Batch("web-1", 1, 0.0, (replace(PLAIN, known_state=word),)))
    assert json.loads(batch["ramps"]) == {PLAIN.circuit: [[0.1, 0.5], 5000, 1500]}


def test_own_decisions_and_kinds() -> None:
    text = " ".join(PAGE.split())
    assert "the entry has a field `own`: JSON, the list of the circuits" in text
    report = replace(PLAIN, protects_itself=True)
    batch = _encoding.encode_batch(Batch("web-1", 1, 0.0, (report,)))
    assert json.loads(batch["own"]) == [PLAIN.circuit]
    assert "the entry has a field `uncounted`: JSON, by the circuit's name" in text
    batch = _encoding.encode_batch(Batch("web-1", 1, 0.0, (replace(PLAIN, uncounted=3),)))
    assert json.loads(batch["uncounted"]) == {PLAIN.circuit: 3}
    assert "A transition by failures also has `kinds`" in text
    reason = Reason(cause=Cause.TRIPPED, kinds={"connect": 5})
    stored = json.loads(_encoding.encode_transition(Transition(circuit="x", reason=reason)))
    assert stored["kinds"] == {"connect": 5}


def test_elements_of_a_tally() -> None:
    version, *names = SNAPSHOT
    assert version == _encoding.VERSION
    assert [field.name for field in fields(CircuitSnapshot)] == names
    assert [field.name for field in fields(WindowSnapshot)] == WINDOW
    assert [field.name for field in fields(TrialResults)] == RESULTS_OF_TRIAL
    window = WindowSnapshot("strategy", "window", (("web-1", "boom", 2),), 6.0001)
    assert [field.name for field in fields(Suspicion)] == SUSPICION
    suspects = (Suspicion("web-1", 5, 1, 6, 1.5, 31.5, 30.0),)
    trial = TrialResults(3, 4, {"boom": 4})
    snapshot = CircuitSnapshot(1, Position(7), window, trial, 5.5, suspects)
    assert json.loads(_encoding.encode_snapshot(snapshot)) == [
        version,
        1,
        "7-0",
        ["strategy", "window", [["web-1", "boom", 2]], 6001],
        [3, 4, {"boom": 4}],
        5500,
        [["web-1", 5, 1, 6, 1500, 31500, 30000]],
    ]
    plain = json.loads(_encoding.encode_snapshot(replace(snapshot, suspects=())))
    assert len(plain) == len(SNAPSHOT) - 1
    described = [words(item)[0] for item in items(PAGE, "## Window snapshots")]
    assert described == names


def test_words_for_states_and_causes() -> None:
    told = {row[0]: words(row[1]) for row in rows(PAGE, "## An entry of `states`")}
    assert set(told["`previous`, `state`"]) == set(State)
    assert set(told["`cause`"]) == set(Cause) - {Cause.INITIAL}


def test_format_version() -> None:
    assert f"its format version, `v`, now `{_encoding.VERSION}`" in " ".join(PAGE.split())
    assert ACCOUNT[0] == _encoding.VERSION


def test_presence() -> None:
    protects = (Protection("payments", State.OPEN, 1.0),)
    known = json.loads(_encoding.encode_presence(Presence("web-1", protects=protects)))
    [told] = re.findall(r"role\s+then,\s+and\s+(.*?)\n\n", PAGE, re.DOTALL)
    assert words(told) == list(known)


# The scripts


@dataclass(frozen=True)
class Head:
    """What a script's first lines say that it takes."""

    keys: list[str]
    arguments: list[str]
    open_ended: bool


def head_of(script: str) -> Head:
    source = (ROOT / f"zenvark_web/backends/scripts/{script}.lua").read_text()
    found: dict[str, list[str]] = {"KEYS": [], "ARGV": [], "Returns": []}
    part: list[str] = []
    for line in source.partition("\n\n")[0].splitlines():
        word = line.removeprefix("-- ").partition(" ")[0]
        part = found.get(word, part)
        part += re.findall(r"\d+(?:\.\.\.)? (.+?)(?=\s{2,}|$)", line)
    keys = [key.split()[0] for key in found["KEYS"]]
    return Head(
        keys, found["ARGV"], re.search(r"^-- .*\d\.\.\. ", source, re.MULTILINE) is not None
    )


def test_table_of_scripts() -> None:
    what, takes = (rows(PAGE, "## Scripts", head=head) for head in ("who", "KEYS"))
    assert [row[0] for row in what] == [row[0] for row in takes]
    assert sorted(row[0] for row in takes) == [f"`{script}.lua`" for script in SCRIPTS]
    for name, keys, arguments in takes:
        head = head_of(name.strip("`").removesuffix(".lua"))
        assert words(keys) == head.keys
        assert arguments == ("; ".join(head.arguments) or "-")


@pytest.mark.parametrize("script", SCRIPTS)
def test_scripts_use_what_their_first_lines_name(script: str) -> None:
    head = head_of(script)
    body = (ROOT / f"zenvark_web/backends/scripts/{script}.lua").read_text().partition("\n\n")[2]
    for word, names in (("KEYS", head.keys), ("ARGV", head.arguments)):
        used = {int(number) for number in re.findall(rf"{word}\[(\d+)\]", body)}
        used |= {int(number) for number in re.findall(rf"unpack\({word}, (\d+)\)", body)}
        used |= {int(number) for number in re.findall(rf"for i = (\d+), #{word},", body)}
        assert used == set(range(1, len(names) + 1))


# A real run


@dataclass
class Stored:
    """What a server held, and how its scripts were called."""

    types: dict[str, str]
    hashes: dict[str, dict[str, str]]
    streams: dict[str, list[dict[str, str]]]
    calls: list[tuple[str, tuple[str, ...], int]]

    def transitions(self) -> Iterator[dict[str, Any]]:
        for text in self.hashes["circuits"].values():
            yield json.loads(text)
        for entry in self.streams["states"]:
            if "transition" in entry:
                yield json.loads(entry["transition"])


async def look_into(backend: RedisBackend) -> None:
    """Load what is there as if it were very much."""
    backend.open()
    snapshot = await backend.load(leading=True)
    assert snapshot.rest is not None
    assert await snapshot.rest.of(["down"])
    await backend.view().survey(START, names=True)
    await backend.close()


@pytest.fixture
async def stored(
    redis_server: ServerHandle, namespace: str, monkeypatch: pytest.MonkeyPatch
) -> Stored:
    """What a fleet has left after circuits have opened, recovered and been forgotten."""
    monkeypatch.setattr(leader, "TIDY_INTERVAL", 0.2)
    monkeypatch.setattr(election, "ANNOUNCE_INTERVAL", 0.2)
    calls: list[tuple[str, tuple[str, ...], int]] = []
    call = RedisBackend._script

    async def record(self: Any, name: str, keys: Sequence[str], *arguments: Any) -> Any:
        calls.append((name, tuple(keys), len(arguments)))
        return await call(self, name, keys, *arguments)

    monkeypatch.setattr(RedisBackend, "_script", record)
    prefix = f"zenvark:{{{namespace}}}:"
    with redis_server.client() as client:

        def entries(stream: str) -> list[dict[str, str]]:
            return [fields for _, fields in client.xrange(prefix + stream)]

        async with Fleet(*[lambda: redis_server.url] * 2, namespace=namespace) as fleet:
            await fleet.open("down")
            await fleet.recovers("brief")
            await fleet.accounts_close(lost=False)
            monkeypatch.setattr(_slices, "SLICE", 1)
            await look_into(RedisBackend(redis_server.url, namespace))
            epoch, _, holder = client.get(f"{prefix}leader").partition(":")
            await recall("down", int(epoch), holder, redis_server.url, namespace)
            await operate(redis_server.url, namespace)
            monkeypatch.setattr(leader, "FORGET_AFTER", 0.2)
            await eventually(
                lambda: any("forgotten" in entry for entry in entries("states")),
                within=PATIENCE,
                what="a circuit that is forgotten",
            )
            monkeypatch.setattr(leader, "FORGET_AFTER", 3600.0)
            await fleet.open("again")  # the others may all be gone
            names = [
                name.removeprefix(prefix) for name in client.keys(f"{prefix.translate(GLOB)}*")
            ]
            types = {name: client.type(prefix + name) for name in names}
            hashes = {
                name: client.hgetall(prefix + name) for name in names if types[name] == "hash"
            }
        streams = {name: entries(name) for name in names if types[name] == "stream"}
    return Stored(types, hashes, streams, calls)


async def operate(url: str, namespace: str) -> None:
    """Do what operators do, and give back what a server has lost."""
    backend = RedisBackend(url, namespace)
    backend.open()
    await backend.probe(Probe("down", "ops@host", "well again"))
    request = OverrideRequest(
        circuit="up", mode=Override.OBSERVE, reason="a trial run", actor="ops@host"
    )
    record = await backend.override(request, 0)
    known = (await backend.load()).overrides
    assert await backend.restore_overrides(known, known)
    assert record in [entry.item for entry in await backend.audit(START, 100)]
    await backend.close()


async def recall(circuit: str, epoch: int, holder: str, url: str, namespace: str) -> None:
    """Write that a grant is recalled, of a suspect, and up to where a callback was called."""
    backend = RedisBackend(url, namespace)
    backend.open()
    lease = Lease(epoch, holder)
    await backend.recall(lease, Transition(circuit=circuit, generation=7))
    assert await backend.unnotified(lease, START, 1)
    await backend.note_suspects(Lease(epoch, holder), Suspect(circuit, "web-1", 5, 5, 7.0))
    await backend.close()


GLOB = str.maketrans({"[": r"\[", "]": r"\]"})


async def test_what_a_server_holds(stored: Stored) -> None:
    kept = {words(row[0])[0]: row[1].split()[0].rstrip(",") for row in rows(PAGE, "## Keys")}
    assert stored.types == kept
    assert set(kept) == set(KEYS)
    for entry in stored.streams["results"]:
        assert [name for name in entry if name != "kinds"] == RESULTS
        for report in json.loads(entry["reports"]):
            assert len(report) <= len(REPORT)
            assert {len(run) for run in report[1]} <= {len(RUN)}
    assert {frozenset(entry) for entry in stored.streams["states"]} == set(map(frozenset, STATES))
    parts = {frozenset(transition) - {"kinds"} for transition in stored.transitions()}
    assert parts == {frozenset(TRANSITION)}
    grants = [transition["grant"] for transition in stored.transitions() if transition["grant"]]
    assert {len(grant) for grant in grants} == {len(GRANT)}
    numbers = stored.hashes["overrides"].pop("")
    assert re.fullmatch(r"\d+( \d+)*", numbers)
    records = map(json.loads, stored.hashes["overrides"].values())
    described = [name for row in rows(PAGE, "## Overrides") for name in words(row[0])]
    assert {tuple(record) for record in records} == {tuple(described)}
    assert {frozenset(entry) for entry in stored.streams["audit"]} <= {
        *map(frozenset, STATES),
        frozenset(AUDIT),
    }
    for text in stored.hashes["accounts"].values():
        assert len(json.loads(text)) == len(ACCOUNT)
    for circuit, text in stored.hashes["tallies"].items():
        assert circuit == POSITION or len(json.loads(text)) == len(SNAPSHOT) - 1
    assert re.fullmatch(r"\d+-\d+", stored.hashes["tallies"][POSITION])
    for text in stored.hashes["instances"].values():
        assert re.fullmatch(r"\d+ (leader|follower) \{.*\}", text)


async def test_how_scripts_are_called(stored: Stored) -> None:
    assert sorted({name for name, *_ in stored.calls}) == SCRIPTS
    for name, keys, count in stored.calls:
        head = head_of(name)
        assert list(keys) == head.keys or (head.keys == ["hash"] and len(keys) == 1)
        assert count == len(head.arguments) or (
            head.open_ended and count >= len(head.arguments) - 1
        )
