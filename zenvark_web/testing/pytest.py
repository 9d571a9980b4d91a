"""Fixtures for pytest, which finds this module by itself.

    def test_shop_without_payments(zenvark_fleet, zenvark_coordinator): ...

Override `zenvark_settings` in a test or a module to set policies.

Without pytest's discovery of plugins (`PYTEST_DISABLE_PLUGIN_AUTOLOAD`), enable it by
`pytest_plugins = ["zenvark_web.testing.pytest"]` in a `conftest.py`, or by `pytest -p`.
"""

from __future__ import annotations

from collections.abc import Generator
from typing import TYPE_CHECKING, Any

import pytest

# The rest of the package is imported by the first fixture that needs it: pytest imports this module
# in every run, whether or not a test uses it.
if TYPE_CHECKING:
    from ..coordinator import Coordinator
    from ._fleet import Fleet


@pytest.fixture
def zenvark_settings() -> dict[str, Any]:
    """The arguments of the `Fleet`: none, unless you override it."""
    return {}


@pytest.fixture
def zenvark_fleet(zenvark_settings: dict[str, Any]) -> Generator[Fleet]:
    """A fleet without coordinators, with a manual clock."""
    from ._fleet import Fleet

    with Fleet(**zenvark_settings) as fleet:
        yield fleet


@pytest.fixture
def zenvark_coordinator(zenvark_fleet: Fleet) -> Coordinator:
    """One started coordinator of the fleet."""
    return zenvark_fleet.coordinator()
