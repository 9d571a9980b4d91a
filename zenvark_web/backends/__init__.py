"""Where the instances of a namespace meet: in one process's memory, or in Redis."""

from typing import TYPE_CHECKING, Any

from .base import Backend
from .memory import MemoryBackend

if TYPE_CHECKING:
    from .redis import RedisBackend

__all__ = ["Backend", "MemoryBackend", "RedisBackend"]


def __getattr__(name: str) -> Any:
    if name == "RedisBackend":  # redis-py takes as long to import as all else together
        from .redis import RedisBackend

        return RedisBackend
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
