"""The one place that reaches into what coordinators, breakers and stores have inside.

What tests look at there has no public name: a queue that is empty, a note that was written. They
ask here, so that a change inside is followed in one place.
"""

from typing import Any

from zenvark_web import Breaker, Coordinator, MemoryBackend
from zenvark_web._circuits.local import LocalCircuit
from zenvark_web._circuits.shard import Shard
from zenvark_web._coordination.reader import Reader
from zenvark_web._coordination.shard_runner import ShardRunner
from zenvark_web._judging.leader import Leader
from zenvark_web._judging.self_protection import SelfProtection
from zenvark_web._runtime.connection import ConnectionStatus
from zenvark_web._state import CoordinatorState
from zenvark_web.backends.memory import MemoryStore


def circuit_of(breaker: Breaker) -> LocalCircuit:
    """What a breaker knows of its circuit."""
    return breaker._local


def state_of(coordinator: Coordinator) -> CoordinatorState:
    """What outlives a coordinator's runs."""
    return coordinator._state


def shard_of(coordinator: Coordinator) -> Shard:
    """The only shard of a coordinator."""
    [shard] = coordinator._state.shards
    return shard


def notifier_of(coordinator: Coordinator) -> Any:
    """Where a coordinator's errors go."""
    return coordinator._state.instance.notifier


def runner_of(coordinator: Coordinator) -> ShardRunner:
    """The loops of the only shard of a coordinator that runs."""
    assert coordinator._session is not None
    [runner] = coordinator._session._runners
    return runner


def connection_of(coordinator: Coordinator) -> ConnectionStatus:
    """Whether a coordinator that runs reaches its store."""
    return runner_of(coordinator)._connection


def reader_of(coordinator: Coordinator) -> Reader:
    """What reads the streams for a coordinator that runs."""
    return runner_of(coordinator)._reader


def leader_of(coordinator: Coordinator) -> Leader:
    """The leading of a coordinator that leads."""
    leader = reader_of(coordinator)._leader
    assert isinstance(leader, Leader)
    return leader


def protection_of(coordinator: Coordinator) -> SelfProtection:
    """What decides for a coordinator that runs by its own results."""
    protector = shard_of(coordinator).table._protector
    assert isinstance(protector, SelfProtection)
    return protector


def store_of(backend: MemoryBackend) -> MemoryStore:
    """What a backend in memory keeps."""
    return backend._store
