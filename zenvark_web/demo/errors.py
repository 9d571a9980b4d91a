"""What ends the demo early."""

from __future__ import annotations


class SetupError(Exception):
    """Something the demo needs is not there. The message says what to do about it."""


class MisbehaviourError(Exception):
    """The fleet did not do what it should."""
