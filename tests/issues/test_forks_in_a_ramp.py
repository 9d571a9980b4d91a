"""A forked process took over the calls of a ramp that were in flight in its parent. It reported
them for good, and no leader could end the ramp."""

from pathlib import Path

from tests.helpers.processes import StartChild
from tests.helpers.waiting import PATIENCE

PROGRAM = Path(__file__).with_name("forks_in_a_ramp.py")


def test_a_child_has_no_calls_of_its_parent(start_child: StartChild) -> None:
    # From 3.12 on, Python warns of a fork beside threads.
    parent = start_child(PROGRAM, env={"PYTHONWARNINGS": "ignore::DeprecationWarning"})
    assert parent.receive(within=PATIENCE) == {"child": 0}
    assert parent.receive(within=PATIENCE) == {"parent": 3}
