"""A metrics recorder that raised made `start()` or `stop()` raise: an app did not come up, or
skipped the rest of its shutdown, because of its dashboards."""

from collections.abc import Callable

import pytest

from tests.helpers.waiting import eventually
from zenvark_web import Coordinator, MetricsError, Role, coordinator
from zenvark_web.metrics import PrometheusMetrics

METHODS = ["attach", "update", "detach"]


class Recorder:
    """Raises in one of its methods."""

    def __init__(self, broken: str) -> None:
        self.called: list[str] = []
        self._broken = broken

    def attach(self, coordinator: Coordinator) -> None:
        self._do("attach")

    def update(self, coordinator: Coordinator) -> None:
        self._do("update")

    def detach(self, coordinator: Coordinator) -> None:
        self._do("detach")

    def _do(self, what: str) -> None:
        self.called.append(what)
        if what == self._broken:
            raise LookupError("no such dashboard")


class Later(Recorder):
    """Nobody would await what it returns."""

    def __init__(self) -> None:
        super().__init__("")

    async def update(self, coordinator: Coordinator) -> None:
        """Never called."""


@pytest.fixture(autouse=True)
def often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(coordinator, "METRICS_INTERVAL", 0.01)


@pytest.mark.parametrize("broken", METHODS)
async def test_a_broken_recorder_is_told_and_called_on(broken: str) -> None:
    told: list[Exception] = []
    recorder = Recorder(broken)
    shared = Coordinator(metrics=recorder, on_error=told.append)
    async with shared:
        await eventually(lambda: recorder.called.count("update") >= 3)
        await eventually(lambda: shared.role is Role.LEADER)
    assert not shared.running
    assert recorder.called[0] == "attach"
    assert recorder.called[-1] == "detach"
    assert shared.statistics.errors["MetricsError"] == recorder.called.count(broken)
    if broken != "detach":  # then nobody runs callbacks any more
        assert isinstance(told[0], MetricsError)
        assert f"Recorder.{broken}" in str(told[0])
        assert "no such dashboard" in str(told[0])


@pytest.mark.parametrize("broken", METHODS)
def test_in_a_thread_of_its_own_too(broken: str) -> None:
    recorder = Recorder(broken)
    with Coordinator(metrics=recorder) as shared:
        shared.breaker("payments").execute_sync(int)
    assert recorder.called[-1] == "detach"
    with shared:
        assert shared.running


@pytest.mark.parametrize("metrics", [PrometheusMetrics, object(), "prometheus", Recorder, Later()])
def test_what_is_no_recorder_is_refused_when_the_coordinator_is_made(
    metrics: Callable[..., object],
) -> None:
    with pytest.raises(TypeError, match=r"metrics must be a recorder such as"):
        Coordinator(metrics=metrics)
