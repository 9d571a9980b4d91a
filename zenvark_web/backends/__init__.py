"""Where the instances of a namespace meet: in one process's memory, or in Redis."""

from .base import Backend
from .memory import MemoryBackend
from .redis import RedisBackend

__all__ = ["Backend", "MemoryBackend", "RedisBackend"]
