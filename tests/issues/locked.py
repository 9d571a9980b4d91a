"""A process that forks while another of its threads holds every lock of the package there is."""

import gc
import json
import os
import threading
import warnings
from collections.abc import Iterator
from types import FunctionType, ModuleType
from typing import Any

import zenvark_web.httpx2
from zenvark_web import BreakerMiddleware, BreakerTransport, Coordinator, LastGoodResponse
from zenvark_web.metrics import PrometheusMetrics

LOCKS = (type(threading.Lock()), type(threading.RLock()))


async def app(_: Any, __: Any, ___: Any) -> None: ...


def in_use() -> Iterator[Any]:
    """The package's objects. What a child has inherited and put aside is none of them."""
    seen, ahead = set[int](), [*kept]
    while ahead:
        thing = ahead.pop()
        if id(thing) in seen or isinstance(thing, (type, FunctionType, ModuleType)):
            continue
        seen.add(id(thing))
        ahead += gc.get_referents(thing)
        if str(type(thing).__module__).startswith("zenvark_web"):
            yield thing


def locks() -> Iterator[tuple[str, Any]]:
    """All their locks, and where they are."""
    for owner in list(in_use()):
        kind = owner.__class__
        slots = {name for base in kind.__mro__ for name in getattr(base, "__slots__", ())}
        for name in {*slots, *getattr(owner, "__dict__", {})}:
            lock = getattr(owner, name, None) if not name.startswith("__") else None
            if isinstance(lock, LOCKS):
                yield f"{kind.__name__}.{name}", lock


coordinator = Coordinator(metrics=PrometheusMetrics())
coordinator.breaker("upstream")
kept: list[Any] = [
    BreakerMiddleware(app, coordinator=coordinator),
    BreakerTransport(coordinator, fallback=LastGoodResponse()),
    zenvark_web.httpx2.BreakerTransport(coordinator, fallback=LastGoodResponse()),
]
held, done = threading.Event(), threading.Event()


def hold() -> None:
    for _, lock in locks():
        lock.acquire()
    held.set()
    done.wait()


thread = threading.Thread(target=hold)
thread.start()
held.wait()
warnings.simplefilter("ignore", DeprecationWarning)  # of a fork beside threads
if os.fork() == 0:
    found = list(locks())
    stuck = [where for where, lock in found if not lock.acquire(blocking=False)]
    os.write(1, f"{json.dumps({'stuck': stuck, 'found': [w for w, _ in found]})}\n".encode())
    os._exit(0)
assert os.wait()[1] == 0
done.set()
thread.join()
