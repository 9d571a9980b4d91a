"""What operators do on the page: set and lift overrides, and have an attempt made now."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from ..._core.overrides import Override, OverrideRecord
from ..._operators.records import VERSION, of_override
from ...coordinator import Coordinator
from ...exceptions import OverrideConflictError, OverrideLimitError
from .answers import Problem

Act = Callable[[Coordinator, "Fields", str], Awaitable[Mapping[str, Any]]]

MODES = ", ".join(mode.value for mode in Override)


class Fields:
    """The fields of a body, each of which must be known.

    Args:
        given: The body.
        known: The names of the fields.

    Raises:
        Problem: There is another field.
    """

    def __init__(self, given: Mapping[str, Any], known: tuple[str, ...]) -> None:
        self._given = given
        for name in given:
            if name not in known:
                raise Problem(
                    400, f"there is no such field; known ones: {', '.join(known)}", field=name
                )

    def text(self, name: str) -> str:
        """Return a text, which must be given."""
        value = self._given.get(name)
        if not isinstance(value, str):
            raise Problem(400, f"{name} must be given, as a string", field=name)
        return value

    def mode(self) -> Override:
        """Return the mode of an override."""
        try:
            return Override(self.text("mode"))
        except ValueError:
            raise Problem(400, f"mode must be one of {MODES}", field="mode") from None

    def seconds(self) -> float | None:
        """Return the time until the end of an override, which must be given; null for no end."""
        value = self._given.get("expires_in", "missing")
        if value is not None and (isinstance(value, bool) or not isinstance(value, int | float)):
            raise Problem(
                400, "expires_in must be given, in seconds, or null for no end", field="expires_in"
            )
        return value

    def expected(self) -> int | None:
        """Return the number of the override that must be in force, if one must be."""
        value = self._given.get("expect")
        if value is not None and (isinstance(value, bool) or not isinstance(value, int)):
            raise Problem(400, "expect must be the number of an override, or 0", field="expect")
        return value


async def perform(name: str, coordinator: Coordinator, body: Mapping[str, Any], actor: str) -> Any:
    """Do something; returns the record of what was done.

    Args:
        name: Which of `ACTS`.
        coordinator: The coordinator.
        body: The body of the request.
        actor: The operator.

    Raises:
        Problem: The request cannot be fulfilled.
        BackendError: The store does not answer.
    """
    known, act = ACTS[name]
    fields = Fields(body, known)
    try:
        return await act(coordinator, fields, actor)
    except (TypeError, ValueError) as error:
        told = str(error)
        field = next((each for each in known if told.startswith(each)), "circuit")
        raise Problem(400, told, field=field) from error
    except (OverrideConflictError, OverrideLimitError) as error:
        raise Problem(409, str(error)) from error


async def _override(coordinator: Coordinator, fields: Fields, actor: str) -> Mapping[str, Any]:
    record = await coordinator.override(
        fields.text("circuit"),
        fields.mode(),
        reason=fields.text("reason"),
        actor=actor,
        expires_in=fields.seconds(),
        expect=fields.expected(),
    )
    return _told(record)


async def _lift(coordinator: Coordinator, fields: Fields, actor: str) -> Mapping[str, Any]:
    record = await coordinator.override(
        fields.text("circuit"),
        None,
        reason=fields.text("reason"),
        actor=actor,
        expect=fields.expected(),
    )
    return _told(record)


async def _probe(coordinator: Coordinator, fields: Fields, actor: str) -> Mapping[str, Any]:
    circuit, reason = fields.text("circuit"), fields.text("reason")
    if not await coordinator.probe(circuit, reason=reason, actor=actor):
        raise Problem(409, "refused: the circuit is not open, or an operator holds it open")
    return {"version": VERSION, "circuit": circuit, "reason": reason, "actor": actor}


def _told(record: OverrideRecord) -> Mapping[str, Any]:
    replaced = of_override(record.replaced) if record.replaced else None
    return {"version": VERSION, **of_override(record), "replaced": replaced}


ACTS: Mapping[str, tuple[tuple[str, ...], Act]] = {
    "override": (("circuit", "mode", "reason", "expires_in", "expect"), _override),
    "lift": (("circuit", "reason", "expect"), _lift),
    "probe": (("circuit", "reason"), _probe),
}
"""The fields of each body, and what is done."""
