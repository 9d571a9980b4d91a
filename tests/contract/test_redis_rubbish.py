"""What others may have written: it is skipped and told, and what is good comes through."""

import asyncio
import json
import re
from collections.abc import Mapping
from dataclasses import replace

import pytest

from tests.contract.stores import (
    TTL,
    RedisStore,
    batch,
    forget,
    lead,
    me,
    override,
    publish,
    recall,
    results_of,
    states_of,
    told,
    transition,
)
from zenvark_web import BackendError, MalformedEntryError
from zenvark_web._core.order import Lease, Position
from zenvark_web._core.states import CircuitSnapshot
from zenvark_web.backends import Backend
from zenvark_web.backends._decoding import MAX_ENTRY_LENGTH
from zenvark_web.backends._encoding import encode_batch, encode_transition
from zenvark_web.backends.base import (
    START,
    Account,
    Batch,
    Checkpoint,
    LeaderChange,
    OverrideSnapshot,
)
from zenvark_web.backends.redis import KEYS

WRITTEN = Checkpoint(Position(7), {"web-1": Account(1, 1)}, {"c": CircuitSnapshot(1)})

Fields = Mapping[str, str | bytes]

BATCH = encode_batch(batch())
TRANSITION = encode_transition(transition(Lease(1, "web-1")))
HUGE = "x" * (MAX_ENTRY_LENGTH + 1)

RESULTS: dict[str, Fields] = {
    "other fields": {"hello": "world"},
    "other version": {**BATCH, "v": "2"},
    "no utf-8": {**BATCH, "instance": b"\xff\xfe\x00"},
    "no utf-8 name": {b"\xff": b"\xff"},  # type: ignore[dict-item]
    "no json": {**BATCH, "reports": "banana"},
    "no list": {**BATCH, "reports": "{}"},
    "words of other reports": {**BATCH, "words": "[]"},
    "deep": {**BATCH, "reports": "[" * 100_000},
    "huge": {**BATCH, "reports": HUGE},
    "nothing": {"": ""},
}
STATES: dict[str, Fields] = {
    "other fields": {"hello": "world"},
    "other version": {"v": "2", "epoch": "1", "leader": "web-1"},
    "other transition": {"transition": TRANSITION.replace('"v":"1"', '"v":"2"')},
    "no utf-8": {"transition": b"\xff" + TRANSITION.encode()},
    "no json": {"transition": "banana"},
    "no state": {"transition": TRANSITION.replace('"open"', "5")},
    "no tally": {"transition": TRANSITION.replace('"failures":{}', '"failures":null')},
    "huge": {"transition": HUGE},
    "no epoch": {"v": "1", "epoch": "-1", "leader": "web-1"},
    "no leader": {"v": "1", "epoch": "1", "leader": b"\x00"},
    "forgets nothing": {"v": "1", "forgotten": "", "generation": "1"},
    "recalls nothing": {"v": "1", "recalled": "c", "generation": "x"},
}
CIRCUITS: dict[str, str | bytes] = {
    "no json": "banana",
    "no object": "[1, 2]",
    "no utf-8": b"\xff\xfe",
    "no state": TRANSITION.replace('"open"', "5"),
    "huge number": TRANSITION.replace('"slow_share":0.0', f'"slow_share":{10**400}'),
    "empty": "",
    "deep": "[" * 100_000,
    "huge": HUGE,
}


def add(store: RedisStore, stream: str, fields: Fields) -> None:
    store.command("XADD", stream, "*", *(part for field in fields.items() for part in field))


@pytest.mark.parametrize("rubbish", RESULTS)
async def test_results(redis_store: RedisStore, rubbish: str) -> None:
    backend = redis_store.open()
    await backend.append(batch(1))
    add(redis_store, "results", RESULTS[rubbish])
    await backend.append(batch(2))
    one, bad, two = await results_of(backend)
    assert isinstance(bad.item, MalformedEntryError)
    assert isinstance(one.item, Batch)
    assert isinstance(two.item, Batch)
    assert (one.item.number, two.item.number) == (1, 2)
    assert await results_of(backend, bad.position) == [two]


@pytest.mark.parametrize("rubbish", STATES)
async def test_states(redis_store: RedisStore, rubbish: str) -> None:
    backend = redis_store.open()
    beat = await lead(backend)
    add(redis_store, "states", STATES[rubbish])
    await publish(backend, transition(beat))
    leader, bad, opening = await states_of(backend)
    assert isinstance(bad.item, MalformedEntryError)
    assert leader.item == LeaderChange(beat.epoch, "web-1")
    assert opening.item == transition(beat)
    assert await states_of(backend, bad.position) == [opening]
    assert (await backend.load()).position == opening.position


@pytest.mark.parametrize("rubbish", CIRCUITS)
async def test_circuits(redis_store: RedisStore, rubbish: str) -> None:
    backend = redis_store.open()
    beat = await lead(backend)
    good = transition(beat, 1, "good")
    await publish(backend, good)
    redis_store.command("HSET", "circuits", "payments", CIRCUITS[rubbish])
    snapshot = await backend.load()
    assert snapshot.transitions == (good,)
    [error] = snapshot.malformed
    assert len(str(error)) < 1000

    assert await publish(backend, transition(beat, 10)) is True, "the next leader mends it"
    mended = await backend.load()
    assert mended.malformed == ()
    assert len(mended.transitions) == 2


async def test_circuit_of_a_newer_version_is_not_overwritten_unless_overtaken(
    redis_store: RedisStore,
) -> None:
    """During a rollout both versions write; the numbers still keep them in order."""
    backend = redis_store.open()
    beat = await lead(backend)
    newer = json.loads(encode_transition(transition(beat, 7))) | {"v": "2"}
    redis_store.command("HSET", "circuits", "payments", json.dumps(newer))
    assert len((await backend.load()).malformed) == 1
    assert await publish(backend, transition(beat, 7)) is False
    assert await publish(backend, transition(beat, 8)) is True


async def test_forgetting_rubbish_is_refused(redis_store: RedisStore) -> None:
    backend = redis_store.open()
    beat = await lead(backend)
    for text in CIRCUITS.values():
        redis_store.command("HSET", "circuits", "payments", text)
        assert await forget(backend, transition(beat, 99)) is False


@pytest.mark.parametrize(
    "rubbish", ["banana", b"\xff\xfe", "", "9999999999999 leader banana", "-1 x {}", HUGE]
)
async def test_instances(redis_store: RedisStore, rubbish: str | bytes) -> None:
    backend = redis_store.open()
    await backend.heartbeat(me("web-1"), TTL, 0)
    redis_store.command("HSET", "instances", "web-2", rubbish)
    redis_store.command("HSET", "instances", b"\xff", rubbish)
    assert await backend.tidy(600, 600) == [me("web-1")]


@pytest.mark.parametrize("rubbish", ["banana", b"\xff", "1:", ":web-1", "x:web-1", "-1:web-2"])
async def test_lease(redis_store: RedisStore, rubbish: str | bytes) -> None:
    """Nobody holds it, so it is taken."""
    backend = redis_store.open()
    redis_store.command("SET", "leader", rubbish)
    beat = await backend.heartbeat(me("web-1"), TTL, 0)
    assert (beat.lease.holder, beat.lease.epoch) == ("web-1", 1)
    assert await told(backend) == [LeaderChange(1, "web-1")]


async def test_lease_that_would_never_end_is_given_an_end(redis_store: RedisStore) -> None:
    backend = redis_store.open()
    redis_store.command("SET", "leader", "7:web-9")
    beat = await backend.heartbeat(me("web-1"), TTL, 0)
    assert (beat.lease.holder, beat.lease.epoch) == ("web-9", 7)
    assert 0 < redis_store.command("PTTL", "leader") <= TTL * 1000


@pytest.mark.parametrize("rubbish", ["banana", b"\xff", "", "1e400", "1e20", "-5", "nan"])
async def test_epoch(redis_store: RedisStore, rubbish: str | bytes) -> None:
    backend = redis_store.open()
    redis_store.command("SET", "epoch", rubbish)
    beat = await backend.heartbeat(me("web-1"), TTL, 5)
    assert (beat.lease.holder, beat.lease.epoch) == ("web-1", 6)


async def use(backend: Backend, what: str) -> None:
    """Something that needs this key."""
    if what in ("leader", "epoch", "instances"):
        await backend.heartbeat(me("web-1"), TTL, 0)
    elif what == "results":
        await backend.append(batch())
    elif what == "circuits":
        await backend.load()
    elif what == "policies":
        await backend.describe({"f00d": "a=1"})
    elif what in ("overrides", "audit"):
        await backend.override(override(), 0)
    elif what in ("accounts", "tallies"):
        beat = await backend.heartbeat(me("web-1"), TTL, 0)
        await backend.checkpoint(beat.lease, WRITTEN)
    else:
        await backend.read(START, None, 0)


@pytest.mark.parametrize("command", ["SET", "SADD"])
async def test_record_of_notifications_is_written_anew(
    redis_store: RedisStore, command: str
) -> None:
    backend = redis_store.open()
    beat = await lead(backend)
    redis_store.command(command, "notified", "banana")
    assert (await backend.load(leading=True)).notified is None
    await backend.unnotified(beat, Position(7), 0)
    assert (await backend.load(leading=True)).notified == Position(7)


@pytest.mark.parametrize("key", [key for key in KEYS if key != "notified"])
async def test_key_of_the_wrong_type(redis_store: RedisStore, key: str) -> None:
    backend = redis_store.open()
    redis_store.command("SADD", key, "banana")
    with pytest.raises(BackendError, match="WRONGTYPE"):
        await use(backend, key)
    redis_store.command("DEL", key)
    await use(backend, key)


@pytest.mark.parametrize(
    "rubbish", ["string", "banana", b"\xff", "[1, 2, 3]", '["1", 2]', '["1", 1, 2, 3, -4]']
)
async def test_accounts(redis_store: RedisStore, rubbish: str | bytes) -> None:
    """They are no more than counts: without them all else goes on."""
    backend = redis_store.open()
    if rubbish == "string":
        redis_store.command("SET", "accounts", rubbish)
    else:
        redis_store.command("HSET", "accounts", "web-1", rubbish)
    beat = await backend.heartbeat(me("web-1"), TTL, 0)
    assert beat.lease.holder == "web-1"
    assert beat.news is not None
    assert beat.news.account is None
    assert (await backend.load(leading=True)).checkpoint == Checkpoint()
    assert await backend.tidy(600, 0) in ([], [me("web-1")])
    if rubbish != "string":
        written = Checkpoint(Position(7), {"web-1": Account(1, 2, 3, 4)})
        await backend.checkpoint(beat.lease, written)
        assert (await backend.load(leading=True)).checkpoint == written


async def test_streams_of_the_wrong_type_break_reads_and_snapshots(
    redis_store: RedisStore,
) -> None:
    backend = redis_store.open()
    for key in ("states", "results"):
        redis_store.command("SET", key, "banana")
        with pytest.raises(BackendError, match="WRONGTYPE"):
            await backend.read(START, START, 0.1)
        with pytest.raises(BackendError, match="WRONGTYPE"):
            await backend.load()
        redis_store.command("DEL", key)
    assert await backend.read(START, START, 0) == []


@pytest.mark.parametrize(
    ("field", "rubbish"),
    [
        ("", "banana"),
        ("", "7-x"),
        ("c", "banana"),
        ("c", b"\xff"),
        ("c", '["2", 1, "7-0", null, null, 0]'),
        ("c", '["1", 1, "7-0", null, null]'),
        ("c", '["1", -1, "7-0", null, null, 0]'),
        ("c", '["1", 1, "7", null, null, 0]'),
        ("c", '["1", 1, "7-0", ["s", 7, []], null, 0]'),
        ("c", '["1", 1, "7-0", ["s", "w", [["web-1", "boom", 0]]], null, 0]'),
        ("c", '["1", 1, "7-0", null, [1, "many", {}], 0]'),
        ("c", '["1", 1, "7-0", null, null, Infinity]'),
        ("c", "[" * 100_000),
    ],
)
async def test_tallies(redis_store: RedisStore, field: str, rubbish: str | bytes) -> None:
    """What is readable stays, but whoever leads next counts from the beginning."""
    backend = redis_store.open()
    beat = await lead(backend)
    snapshots = {"c": CircuitSnapshot(1, Position(7)), "d": CircuitSnapshot(2, Position(7))}
    await backend.checkpoint(beat, Checkpoint(Position(7), {"web-1": Account(1, 2)}, snapshots))
    redis_store.command("HSET", "tallies", field, rubbish)
    snapshot = await backend.load(leading=True)
    assert snapshot.checkpoint.position == START
    assert snapshot.checkpoint.accounts == {"web-1": Account(1, 2)}
    assert snapshot.checkpoint.snapshots == {k: v for k, v in snapshots.items() if k != field}
    assert len(snapshot.malformed) == 1
    assert (await backend.load()).malformed == ()


async def test_tallies_of_the_wrong_type_are_as_good_as_none(redis_store: RedisStore) -> None:
    backend = redis_store.open()
    redis_store.command("SET", "tallies", "banana")
    assert (await backend.load(leading=True)).checkpoint == Checkpoint()


async def test_checkpoint_that_cannot_be_written_whole_goes_no_further(
    redis_store: RedisStore,
) -> None:
    backend = redis_store.open()
    beat = await lead(backend)

    async def write(ms: int, last: int) -> None:
        accounts, snapshots = {"web-1": Account(1, last)}, {"c": CircuitSnapshot(last)}
        await backend.checkpoint(beat, Checkpoint(Position(ms), accounts, snapshots))

    await write(7, 1)
    redis_store.command("DEL", "accounts")
    redis_store.command("SET", "accounts", "banana")
    with pytest.raises(BackendError, match="WRONGTYPE"):
        await write(8, 2)
    assert (await backend.load(leading=True)).checkpoint == Checkpoint(
        Position(7), {}, {"c": CircuitSnapshot(1)}
    )


LAST_POSSIBLE = f"{2**64 - 1}-{2**64 - 1}"
FAR_AHEAD = {"the last there is": LAST_POSSIBLE, "far ahead of the clock": f"{2**60}-7"}


@pytest.mark.parametrize("stream", ["states", "results"])
@pytest.mark.parametrize("position", FAR_AHEAD)
async def test_entry_far_ahead_of_the_clock_has_its_stream_begin_anew(
    redis_store: RedisStore, position: str, stream: str
) -> None:
    """Behind it all further entries would have stood, or none at all."""
    backend = redis_store.open()
    beat = await lead(backend)
    await backend.append(batch(1))
    redis_store.command("XADD", stream, FAR_AHEAD[position], "hello", "world")
    snapshot = await backend.load()
    [error] = snapshot.malformed
    assert FAR_AHEAD[position] in str(error)
    assert not (await backend.load()).malformed
    await publish(backend, transition(beat))
    await backend.append(batch(2))
    items = [entry.item for entry in await states_of(backend, snapshot.position)]
    assert items[-1] == transition(beat)
    newest = (await results_of(backend))[-1].item
    assert isinstance(newest, Batch)
    assert newest.number == 2


@pytest.mark.parametrize(
    "what", ["lease", "leave", "transition", "results", "forgotten", "recalled"]
)
async def test_whoever_writes_first_steps_over_the_last_position_there_is(
    redis_store: RedisStore, what: str
) -> None:
    backend = redis_store.open()
    beat = await lead(backend)
    opened = transition(beat)
    await publish(backend, opened)
    for stream in ("states", "results"):
        redis_store.command("XADD", stream, LAST_POSSIBLE, "hello", "world")
    if what == "lease":
        redis_store.command("DEL", "leader")
        await backend.heartbeat(me("web-2"), TTL, 0)
    elif what == "leave":
        await backend.resign("web-1")
    elif what == "transition":
        await publish(backend, transition(beat, 2))
    elif what == "results":
        await backend.append(batch(1))
    elif what == "recalled":
        await recall(backend, opened)
    else:
        await forget(backend, opened)
    [entry] = await results_of(backend) if what == "results" else await states_of(backend)
    assert entry.position.ms < 2**53


@pytest.mark.parametrize("generation", [2**53, 2**53 - 1, 2**40, 2**32 + 2])
async def test_generation_that_no_fleet_reaches_is_written_over(
    redis_store: RedisStore, generation: int
) -> None:
    backend = redis_store.open()
    beat = await lead(backend)
    absurd = encode_transition(transition(beat, generation))
    redis_store.command("HSET", "circuits", "payments", absurd)
    assert await publish(backend, transition(beat, 1))
    assert (await backend.load()).transitions == (transition(beat, 1),)


async def test_transition_that_only_scripts_cannot_read_is_not_overwritten(
    redis_store: RedisStore,
) -> None:
    """Half a surrogate pair, which an earlier version wrote as it came."""
    backend = redis_store.open()
    beat = await lead(backend)
    stored = encode_transition(transition(beat, 7)).replace('"detail":""', '"detail":"\\ud800"')
    redis_store.command("HSET", "circuits", "payments", stored)
    assert not await publish(backend, transition(beat, 6))
    assert await forget(backend, transition(beat, 7))


async def test_lease_of_a_day_is_cut_to_the_longest_anybody_may_ask_for(
    redis_store: RedisStore,
) -> None:
    backend = redis_store.open()
    redis_store.command("SET", "leader", "7:stranger", "PX", 86_400_000)
    beat = await backend.heartbeat(me("web-1"), TTL, 0)
    assert (beat.lease.holder, beat.expires_in) == ("stranger", 3600)
    assert 3_500_000 < redis_store.command("PTTL", "leader") <= 3_600_000


async def test_lease_of_another_version_that_asks_for_longer_is_left_alone(
    redis_store: RedisStore,
) -> None:
    backend = redis_store.open()
    await backend.heartbeat(me("web-1"), 3600, 0)
    beat = await backend.heartbeat(me("web-2"), 0.2, 0)
    assert beat.lease.holder == "web-1"
    assert beat.expires_in > 3590


@pytest.mark.parametrize("epoch", [2**53, 2**33 + 2, 10**30])
async def test_lease_under_an_epoch_that_no_fleet_reaches_is_none(
    redis_store: RedisStore, epoch: int
) -> None:
    backend = redis_store.open()
    redis_store.command("SET", "leader", f"{epoch}:stranger", "PX", 60_000)
    beat = await backend.heartbeat(me("web-1"), TTL, 5)
    assert (beat.lease.epoch, beat.lease.holder) == (6, "web-1")


async def test_entry_of_too_many_fields(redis_store: RedisStore) -> None:
    backend = redis_store.open()
    add(redis_store, "results", {f"field-{n}": "x" for n in range(5_000)})
    await backend.append(batch(2))
    bad, good = await results_of(backend)
    assert isinstance(bad.item, MalformedEntryError)
    assert isinstance(good.item, Batch)


NUMBERS = {
    "no numbers": "banana",
    "nothing": "",
    "none": " ",
    "not in order": "9 7",
    "zeros": "007 0008",
    "blanks": " 5   7 ",
    "signs": "-5 +7",
    "numbers of Python": "1_000",
    "other digits": "\N{ARABIC-INDIC DIGIT FIVE}",
    "other blanks": "5\n7",
    "too high": "9" * 20,
    "much too high": "9" * 5_000,
    "too high in the middle": f"5 {2**52} 7",
}


@pytest.mark.parametrize("rubbish", NUMBERS)
async def test_numbers_of_overrides(redis_store: RedisStore, rubbish: str) -> None:
    """Whatever is there instead, an instance can give back what it knows."""
    backend = redis_store.open()
    record = await backend.override(override(), 0)
    redis_store.command("HSET", "overrides", "", NUMBERS[rubbish])
    lost = (await backend.load()).overrides
    restored = OverrideSnapshot((record.number,), (record,))
    assert await backend.restore_overrides(lost, restored)
    assert (await backend.load()).overrides == restored


@pytest.mark.parametrize("number", [2**52, 2**53 - 1, 10**15])
async def test_overrides_under_a_number_that_no_fleet_reaches_count_as_the_oldest(
    redis_store: RedisStore, number: int
) -> None:
    """Or no later one would count. A clock that is set back by days has the same effect."""
    backend = redis_store.open()
    first = await backend.override(override(), 0)
    record = json.loads(redis_store.command("HGET", "overrides", "payments")) | {"number": number}
    text = json.dumps(record, separators=(",", ":"))
    redis_store.command("HSET", "overrides", "payments", text, "", f"0 {number}")
    oldest = replace(first, number=1)
    assert (await backend.load()).overrides == OverrideSnapshot((1,), (oldest,))

    redis_store.command("HSET", "overrides", "payments", text, "", f"0 {number}")
    second = await backend.override(override("other"), number)
    assert first.number <= second.number < first.number + 86_400_000
    assert second.follows == 1
    loaded = (await backend.load()).overrides
    assert loaded.numbers == (1, second.number)
    assert set(loaded.records) == {oldest, second}  # a hash has no order


async def test_overrides_without_bound_are_read_in_part(redis_store: RedisStore) -> None:
    backend = redis_store.open()
    record = await backend.override(override(), 0)
    fill(redis_store, 20_000, "banana")
    snapshot = await backend.load()
    assert len(snapshot.malformed) < 10_000
    assert snapshot.overrides.number == record.number


async def test_overrides_without_bound_expire_in_parts(redis_store: RedisStore) -> None:
    """No script keeps the server, and with it all instances, for long."""
    backend = redis_store.open()
    lease = await lead(backend)
    await backend.override(override(expires_in=0.001), 0)
    fill(redis_store, 10_000, redis_store.command("HGET", "overrides", "payments"))
    await asyncio.sleep(0.01)
    await backend.expire_overrides(lease, ())
    assert 5_000 < redis_store.command("HLEN", "overrides") < 10_000
    for _ in range(10):
        await backend.expire_overrides(lease, ())
    assert (await backend.load()).overrides.records == ()


def fill(store: RedisStore, number: int, record: str) -> None:
    """Write fields of overrides."""
    for start in range(0, number, 5_000):
        fields = [part for n in range(start, start + 5_000) for part in (f"c-{n}", record)]
        store.command("HSET", "overrides", *fields)


async def test_override_with_an_end_that_is_no_number(redis_store: RedisStore) -> None:
    backend = redis_store.open()
    lease = await lead(backend)
    await backend.override(override("short", expires_in=0.001), 0)
    text = redis_store.command("HGET", "overrides", "short")
    strange = re.sub('"until":[0-9]+', '"until":soon', text)
    redis_store.command("HSET", "overrides", "strange", strange)
    await asyncio.sleep(0.01)
    await backend.expire_overrides(lease, ())
    assert (await backend.load()).overrides.records == ()


# What is left behind


async def test_every_key_expires_a_day_after_it_was_used_last(redis_store: RedisStore) -> None:
    backend = redis_store.open()
    await use_all(backend)
    for key in KEYS:
        left = redis_store.command("PTTL", key)
        assert left > 0, f"{key} stays for ever"
        days = 31 if key in ("overrides", "audit") else 1  # as long as operators may decide for
        assert key == "leader" or 0 < days * 86_400_000 - left < 400_000, key


async def test_whoever_is_there_keeps_all_of_them(redis_store: RedisStore) -> None:
    """Also those that nobody writes to, those that an earlier version has written, and after the
    server's clock was put ahead by nearly a day."""
    backend = redis_store.open()
    await use_all(backend)
    for key in KEYS:
        if key != "leader":
            redis_store.command("PEXPIRE", key, 30_000)
    redis_store.command("PERSIST", "circuits")
    await backend.heartbeat(me("web-2"), TTL, 0)
    for key in KEYS:
        assert key == "leader" or redis_store.command("PTTL", key) > 86_000_000, key


async def use_all(backend: Backend) -> None:
    beat = await lead(backend)
    await backend.append(batch())
    await backend.describe({"f00d": "a=1"})
    await publish(backend, transition(beat))
    await backend.unnotified(beat, START, 0)
    accounts, snapshots = {"web-1": Account(1, 1)}, {"payments": CircuitSnapshot(1)}
    await backend.checkpoint(beat, Checkpoint(Position(1, 1), accounts, snapshots))
    await backend.override(override(), 0)
