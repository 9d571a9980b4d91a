"""The ways in which a call may not succeed."""

from __future__ import annotations

from typing import Literal, TypeAlias

Miss: TypeAlias = Literal["open", "failed", "throttled"]

OPEN: frozenset[Miss] = frozenset({"open"})
FAILED: frozenset[Miss] = frozenset({"failed"})
THROTTLED: frozenset[Miss] = frozenset({"failed", "throttled"})
NONE: frozenset[Miss] = frozenset()
