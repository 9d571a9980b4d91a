"""What ends the demo early."""

from __future__ import annotations


class SetupError(Exception):
    """A prerequisite of the demo is missing. The message says what to do."""


class MisbehaviourError(Exception):
    """The fleet misbehaved."""
