"""This package's version, read from its metadata when asked for."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError
from importlib.metadata import version as _installed


def version() -> str:
    """The installed version, or `0` if the package runs without being installed."""
    try:
        return _installed("zenvark-web")
    except PackageNotFoundError:
        return "0"
