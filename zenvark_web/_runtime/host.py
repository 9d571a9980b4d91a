"""What an instance takes from the machine it runs on. The simulation gives it another one."""

from __future__ import annotations

import os
import random
import re
import socket
import time
import uuid
from collections.abc import Callable
from contextvars import Context
from dataclasses import dataclass


def _unique_id() -> str:
    name = re.sub(r"[^A-Za-z0-9.-]", "-", socket.gethostname())[:40]
    return f"{name}-{os.getpid()}-{uuid.uuid4().hex[:8]}"


@dataclass(frozen=True, slots=True)
class Host:
    """A machine as one instance sees it.

    Args:
        monotonic: Seconds that never run backwards. They mean nothing to other hosts.
        wall: Seconds of the day's clock, which goes on while a machine is frozen, but may be set.
            Nothing is decided by them: they only tell that it may be time to ask the store.
        chance: Makes random numbers from 0 to 1.
        unique_id: Makes a name for an instance that no other has.
        context: Makes the context variables of what runs in the background: none, for those of
            whoever happens to start it (a request's id, a trace) have nothing to do with it.
    """

    monotonic: Callable[[], float] = time.monotonic
    wall: Callable[[], float] = time.time
    chance: Callable[[], float] = random.random
    unique_id: Callable[[], str] = _unique_id
    context: Callable[[], Context] = Context
