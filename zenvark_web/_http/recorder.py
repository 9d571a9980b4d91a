"""Recording of response bodies."""

from __future__ import annotations


class BodyRecorder:
    """Records a body while it passes."""

    __slots__ = ()

    def add(self, chunk: bytes) -> None:
        """Record a chunk."""
        raise NotImplementedError

    def complete(self) -> None:
        """End the body, which is complete."""
        raise NotImplementedError
