"""An instance of whatever version its environment has, told by a test what to do.

It uses only what all versions have. With `--further`, it writes like a version after this one:
further elements, keys, fields, words and capabilities, wherever the format allows them.
"""

import asyncio
import json
import logging
import sys
from collections import Counter
from contextlib import suppress
from pathlib import Path
from typing import Any

sys.path.append(str(Path(__file__).parents[2]))  # behind the environment's own packages

import zenvark_web
from tests.helpers.child import serve
from zenvark_web import (
    BreakerPolicy,
    CircuitOpenError,
    ConsecutiveFailures,
    ConstantBackoff,
    Coordinator,
    Outcome,
    State,
    StateChange,
)
from zenvark_web._coordination import election
from zenvark_web._judging import leader
from zenvark_web.backends import _encoding

logging.getLogger("zenvark_web").propagate = False

CIRCUIT = "payments"
PACE = 0.01


class Member:
    """A coordinator, calls that never end, and what became of them."""

    def __init__(self, url: str, namespace: str, policy: dict[str, Any]) -> None:
        self._admitted: Counter[tuple[int, str]] = Counter()
        self._rejected: Counter[str] = Counter()
        self._causes: list[str] = []
        self._errors: list[str] = []
        self._events: list[str] = []
        self._well = True
        self._coordinator = Coordinator(
            url,
            namespace=namespace,
            policy=BreakerPolicy(
                strategy=ConsecutiveFailures(3), backoff=ConstantBackoff(0.5), **policy
            ),
            on_error=lambda error: self._errors.append(f"{type(error).__name__}: {error}"),
            on_state_change=self._changed,
        )
        logging.getLogger("zenvark_web").addHandler(self._handler())
        self._traffic = asyncio.create_task(self._calls())

    def identify(self) -> str:
        return f"{Path(zenvark_web.__file__).parents[4].name} {self._coordinator.instance_id}"

    async def start(self) -> None:
        await self._coordinator.start()

    async def stop(self) -> None:
        await self._coordinator.stop()

    def upstream(self, *, well: bool) -> None:
        """Let all further calls pass or fail."""
        self._well = well

    async def override(self, *, mode: str | None) -> None:
        """Override the circuit, or lift the override."""
        from zenvark_web import Override  # which not all versions have

        what = None if mode is None else Override(mode)
        await self._coordinator.override(CIRCUIT, what, reason="a test")

    def state(self) -> dict[str, Any]:
        breaker = self._coordinator.breaker(CIRCUIT)
        return {
            "state": breaker.state.value,
            "generation": breaker.generation,
            "leads": self._coordinator.role == "leader",
            "unknown": getattr(self._coordinator.statistics, "unknown_entries", None),
        }

    def history(self) -> dict[str, Any]:
        """What has happened since the last time."""
        told = {
            "admitted": [[*which, count] for which, count in self._admitted.items()],
            "rejected": dict(self._rejected),
            "causes": self._causes,
            "errors": self._errors,
            "events": self._events,
        }
        self._admitted, self._rejected = Counter(), Counter()
        self._causes, self._errors, self._events = [], [], []
        return told

    async def _calls(self) -> None:
        breaker = self._coordinator.breaker(CIRCUIT)
        while True:
            await asyncio.sleep(PACE)
            generation, state = breaker.generation, breaker.state.value
            try:
                permit = breaker.acquire()
            except CircuitOpenError:
                self._rejected[state] += 1
                continue
            self._admitted[generation, state] += 1
            await asyncio.sleep(0)
            permit.record(Outcome.SUCCESS if self._well else Outcome.FAILURE)

    def _changed(self, change: StateChange) -> None:
        # An unknown cause is the first word of its detail.
        cause, detail = change.reason.cause.value, str(change.reason)
        self._causes.append(detail.partition(":")[0] if cause == "other" else cause)

    def _handler(self) -> logging.Handler:
        events = self

        class Kept(logging.Handler):
            def emit(self, record: logging.LogRecord) -> None:
                events._events.append(vars(record).get("zenvark_event", ""))

        return Kept()


def write_further_parts() -> None:
    """Write like a version after this one."""

    def longer(function: Any) -> Any:
        def packed(*args: Any) -> Any:
            made = function(*args)
            return made and [*made, {"further": [1]}, "x"]

        return packed

    for name in ("_pack_report", "_pack_run", "_pack_state", "_pack_grant", "_pack_window"):
        setattr(_encoding, name, longer(getattr(_encoding, name)))

    def with_more(function: Any, more: dict[str, Any]) -> Any:
        return lambda *args: json.dumps(json.loads(function(*args)) | more, separators=(",", ":"))

    def with_elements(function: Any) -> Any:
        return lambda *args: json.dumps([*json.loads(function(*args)), "x"])

    with_keys = with_more(_encoding.encode_transition, {"further": {"x": 1}})

    def with_words(transition: Any) -> Any:
        stored = json.loads(with_keys(transition))
        known = {State.OPEN: "shut", State.CLOSED: "free"}
        if transition.state in known:  # to instances of this version, its own states are known
            stored |= {"state": known[transition.state], "as": transition.state.value}
        stored["cause"] = f"new_{stored['cause']}"
        return json.dumps(stored, separators=(",", ":"))

    head = _encoding._head
    _encoding._head = lambda *args: f'{head(*args)}"further":{{}},'
    batch = _encoding.encode_batch
    presence = _encoding.encode_presence
    _encoding.encode_transition = with_words
    _encoding.encode_snapshot = with_elements(_encoding.encode_snapshot)
    _encoding.encode_account = with_elements(_encoding.encode_account)
    _encoding.encode_batch = lambda told: batch(told) | {"further": "x"}
    _encoding.encode_presence = lambda me: with_more(
        presence, {"can": [*sorted(me.can), "further"], "further": 1}
    )(me)


async def main() -> None:
    url, namespace, policy, *further = sys.argv[1:]
    if further:
        write_further_parts()
    leader.TIDY_INTERVAL = election.ANNOUNCE_INTERVAL = 0.3
    member = Member(url, namespace, json.loads(policy))
    await serve(
        {
            each.__name__: each
            for each in (
                *(member.identify, member.start, member.stop),
                *(member.upstream, member.override, member.state, member.history),
            )
        }
    )
    with suppress(Exception):
        await member.stop()


if __name__ == "__main__":
    asyncio.run(main())
