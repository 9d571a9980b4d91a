"""Fixtures of the tests of the command line."""

import pytest

from tests.cluster.conftest import processes, start_fleet, store, upstream
from zenvark_web.backends import examination
from zenvark_web.cli import events, watch

__all__ = ["processes", "start_fleet", "store", "upstream"]


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """No test waits for what people wait for, and no setting of theirs gets in."""
    monkeypatch.setattr(examination, "INTERVAL", 0.0)
    monkeypatch.setattr(events, "POLL", 0.01)
    monkeypatch.delenv("ZENVARK_REDIS", raising=False)
    monkeypatch.delenv("ZENVARK_NAMESPACE", raising=False)
    monkeypatch.setattr(watch, "SHARE", 0)
