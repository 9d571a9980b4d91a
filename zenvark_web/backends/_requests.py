"""The requests of operators, written by scripts that need no lease."""

from __future__ import annotations

from dataclasses import replace

from .._core.overrides import KEPT_NUMBERS, MAX_OVERRIDES
from ..exceptions import OverrideConflictError, OverrideLimitError
from . import _decoding, _encoding, _replies
from ._scripts import MAX_AUDIT, MAX_STATES, Script
from .base import OverrideRecord, OverrideRequest, Probe


async def override(script: Script, request: OverrideRequest, above: int) -> OverrideRecord:
    """Set or lift an override, as `Backend.override` promises.

    Args:
        script: Runs scripts at the shard.
        request: The request.
        above: The record's number exceeds this one.

    Raises:
        OverrideConflictError: The override in force is not the expected one.
        OverrideLimitError: There are as many overrides as there may be.
    """
    done, *records = await script(
        "override",
        ("overrides", "states", "audit"),
        request.circuit,
        request.mode or "",
        _encoding.encode_request(request),
        "" if request.expires_in is None else round(request.expires_in * 1000),
        above,
        "" if request.expect is None else request.expect,
        MAX_OVERRIDES,
        KEPT_NUMBERS,
        MAX_STATES,
        MAX_AUDIT,
        _encoding.VERSION,
    )
    if done == -1:
        raise OverrideLimitError.of(MAX_OVERRIDES)
    there, replaced = [_read(record) for record in (*records, None, None)[:2]]
    if done == 0 or there is None:
        found = 0 if there is None else there.number
        raise OverrideConflictError(request.circuit, request.expect or 0, found)
    return replace(there, replaced=replaced)


def _read(stored: bytes | str | None) -> OverrideRecord | None:
    return _decoding.decode_override(_replies.text(stored)) if stored else None


async def probe(script: Script, probe: Probe) -> None:
    """Ask for an attempt to recover, as `Backend.probe` promises."""
    lengths = (MAX_STATES, MAX_AUDIT)
    parts = (probe.circuit, probe.actor, probe.reason)
    await script("probe", ("states", "audit"), _encoding.VERSION, *lengths, *parts)
