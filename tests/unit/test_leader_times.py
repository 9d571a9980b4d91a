"""The times from which a new leader continues."""

from zenvark_web._core.order import Position
from zenvark_web._core.states import CircuitSnapshot, WindowSnapshot
from zenvark_web._judging.leader import _newest_counted
from zenvark_web.backends.base import Checkpoint

REACHED = Position(20_000)


def test_a_leader_starts_after_the_newest_result_that_its_predecessor_counted() -> None:
    """The predecessor's own seconds are ahead of the stream if the store's clock was set back."""
    ahead = CircuitSnapshot(0, REACHED, WindowSnapshot("strategy", None, newest=50.0))
    behind = CircuitSnapshot(0, REACHED, WindowSnapshot("strategy", None, newest=10.0))
    half_open = CircuitSnapshot(1, Position(30_000))
    assert _newest_counted(Checkpoint(REACHED, snapshots={"a": ahead, "b": behind})) == 50.0
    assert _newest_counted(Checkpoint(REACHED, snapshots={"b": behind})) == 20.0
    assert _newest_counted(Checkpoint(REACHED, snapshots={"b": behind, "c": half_open})) == 30.0
    assert _newest_counted(Checkpoint()) == 0.0
