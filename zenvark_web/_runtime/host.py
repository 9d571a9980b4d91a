"""The machine of an instance. The simulation replaces it."""

from __future__ import annotations

import os
import random
import re
import socket
import time
from collections.abc import Callable
from contextvars import Context
from dataclasses import dataclass


def _unique_id() -> str:
    name = re.sub(r"[^A-Za-z0-9.-]", "-", socket.gethostname())[:40]
    return f"{name}-{os.getpid()}-{os.urandom(4).hex()}"


@dataclass(frozen=True, slots=True)
class Host:
    """A machine as seen by one instance.

    Args:
        monotonic: Seconds that never decrease. They have no meaning on other hosts.
        wall: Seconds of the wall clock, which continues while a machine is frozen, but may be
            changed. No
        decision depends on it: it only indicates that it may be time to read from the store.
        chance: Returns random numbers from 0 to 1.
        unique_id: Returns a new unique name for an instance.
        context: Creates the context variables of background work: none, because those of the code
            that happens to start it (a request id, a trace) are unrelated.
    """

    monotonic: Callable[[], float] = time.monotonic
    wall: Callable[[], float] = time.time
    chance: Callable[[], float] = random.random
    unique_id: Callable[[], str] = _unique_id
    context: Callable[[], Context] = Context
