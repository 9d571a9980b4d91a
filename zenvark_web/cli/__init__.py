"""The command `zenvark-web`: the demo, and read-only views of a fleet."""

from .entry import main

__all__ = ["main"]
