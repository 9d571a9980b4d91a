"""Fixtures for pytest: `pytest_plugins = ["zenvark_web.testing.pytest"]` in a `conftest.py`.

    def test_shop_without_payments(zenvark_fleet, zenvark_coordinator): ...

Override `zenvark_settings` in a test or a module to set policies.
"""

from __future__ import annotations

from collections.abc import Generator
from typing import Any

import pytest

from ..coordinator import Coordinator
from ._fleet import Fleet


@pytest.fixture
def zenvark_settings() -> dict[str, Any]:
    """The arguments of the `Fleet`: none, unless you override it."""
    return {}


@pytest.fixture
def zenvark_fleet(zenvark_settings: dict[str, Any]) -> Generator[Fleet]:
    """A fleet without coordinators, with a manual clock."""
    with Fleet(**zenvark_settings) as fleet:
        yield fleet


@pytest.fixture
def zenvark_coordinator(zenvark_fleet: Fleet) -> Coordinator:
    """One started coordinator of the fleet."""
    return zenvark_fleet.coordinator()
