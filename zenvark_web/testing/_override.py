"""An app's own coordinator in a test: on a fleet in memory, or switched off."""

from __future__ import annotations

from types import TracebackType

from .._runtime.activity import ACTIVITY
from ..coordinator import Coordinator, Home, all_coordinators, home_of, move, policies_of
from ._fleet import Fleet
from ._lifecycle import FleetLifecycle


class override:  # noqa: N801 - read as a function
    """Put an app's coordinator on a fleet in memory, for the duration of a block.

        with override(coordinator) as fleet:
            fleet.trip("payments")
            assert client.get("/price").status_code == 503

    The coordinator, its breakers, and everything built on them work as before: transports,
    middleware, decorated functions. Its circuits begin closed, with its own policies, its callbacks
    and its metrics. The fleet starts it, and the app's lifespan finds it started. Further instances
    of the fleet, by `fleet.coordinator()`, have the same policies. Leaving the block stops the
    coordinator, and puts it back, with the circuits as they were.

    `async with` does the same.

    Args:
        coordinator: The coordinator. It must not run.

    Raises:
        TypeError: `coordinator` is not a `Coordinator`.
        RuntimeError: On entering, if the coordinator runs, or if the same `override` is entered
            already.
    """

    def __init__(self, coordinator: Coordinator) -> None:
        if not isinstance(coordinator, Coordinator):
            raise TypeError(f"coordinator must be a Coordinator, not {coordinator!r}")
        self._coordinator = coordinator
        self._entered: tuple[Fleet, Home] | None = None

    def __enter__(self) -> Fleet:
        if self._entered is not None:
            raise RuntimeError("an override can be entered only once at a time: make another one")
        policies = policies_of(self._coordinator)
        fleet = Fleet(policy=policies.default, policies=policies.named)
        try:
            self._entered = fleet, fleet._take_in(self._coordinator)  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]
        except BaseException:
            fleet.close()
            raise
        return fleet

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._entered is not None:
            (fleet, home), self._entered = self._entered, None
            with fleet:
                fleet._let_go(self._coordinator, home)  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]

    async def __aenter__(self) -> Fleet:
        return self.__enter__()

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.__exit__(kind, error, traceback)


def set_active(active: bool) -> None:
    """Switch all circuit breakers of this process off or on again, for tests of something else.

    While they are off, every call passes, and none is counted: no coordinator starts, none needs
    Redis, and nothing is logged about it. This applies to coordinators that exist and to those
    made later. Coordinators of a `Fleet`, and those under `override`, work all the same. Switched
    on, coordinators start again when they are started the next time.

    Args:
        active: Whether they are on.

    Raises:
        TypeError: `active` is not a bool.
        RuntimeError: A coordinator runs, and breakers are to be switched off.
    """
    if not isinstance(active, bool):
        raise TypeError(f"active must be True or False, not {active!r}")
    if not active:
        _forget_circuits()
    ACTIVITY.on = active


def _forget_circuits() -> None:
    """Close the circuits that earlier runs have left open.

    Raises:
        RuntimeError: A coordinator runs; no circuit is changed.
    """
    coordinators = [
        coordinator
        for coordinator in all_coordinators()
        if not isinstance(home_of(coordinator)[1], FleetLifecycle)
    ]
    for coordinator in coordinators:
        if coordinator.running:
            raise RuntimeError(
                f"{coordinator!r} runs: stop it before set_active(False), or call that first, such "
                "as at the top of conftest.py"
            )
    for coordinator in coordinators:
        move(coordinator, home_of(coordinator)[0].renewed(), None)
