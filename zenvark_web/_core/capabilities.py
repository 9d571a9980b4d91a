"""The capabilities of a version: what it can read beyond the first format.

A fleet is never upgraded at one moment. Each instance lists its version's capabilities in its
presence (`"can": [...]`), and the leader begins nothing that a present instance would misread: it
does without until the last one is upgraded, and logs once which ones those are. What has already
begun goes on, also when an older instance joins.

To add one:

1. Add a member here, in the commit in which this version can *read* the new words. From then on
   each presence lists it.
2. Where the leader begins to use the words, ask `Keeper.allows(Capability.X)` first, and keep the
   behaviour without them. (Nobody needs to ask who only adds what older versions ignore.)
3. Add the words to docs/redis-layout.md, and a new file of vectors to `tests/protocol/v1`.

Words for capabilities are never reused, and a member is removed only with a new major version of
the format.
"""

from __future__ import annotations

from enum import StrEnum


class Capability(StrEnum):
    """Something that not all versions can read."""

    RAMP = "ramp"
    """The schedule of a ramp in a transition: others see a half-open circuit without permits."""

    OVERRIDE = "override"
    """An operator's override: others go by the verdict, which is open where an operator has forced
    that."""


ALL: frozenset[str] = frozenset(Capability)
"""The capabilities of this version."""
