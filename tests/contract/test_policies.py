"""The texts of policies, which operators read."""

from tests.contract.stores import RedisStore
from zenvark_web.backends.redis import MAX_TEXTS


async def test_are_stored_under_their_digests(redis_store: RedisStore) -> None:
    backend = redis_store.open()
    await backend.describe({"a": "x=1", "b": "y=1"})
    await backend.describe({"a": "x=1", "c": "z=1"})
    assert redis_store.command("HGETALL", "policies") == {"a": "x=1", "b": "y=1", "c": "z=1"}


async def test_are_bounded(redis_store: RedisStore) -> None:
    backend = redis_store.open()
    for number in range(3 * MAX_TEXTS + 5):
        await backend.describe({f"digest-{number}": "x", "of all": "y"})
        assert redis_store.command("HLEN", "policies") <= MAX_TEXTS
    assert redis_store.command("HGET", "policies", f"digest-{number}") == "x"
