"""A thread held a lock while its process forked. In the child nobody let go of it, and the next
request hung for good."""

from pathlib import Path

from tests.helpers.processes import StartChild
from tests.helpers.waiting import PATIENCE

SCRIPT = Path(__file__).with_name("locked.py")


def test_no_lock_of_the_parent_is_held_in_a_child(start_child: StartChild) -> None:
    """Whichever it is."""
    told = start_child(SCRIPT).receive(within=PATIENCE)
    ours = {
        "TrialFlows._lock",
        "Incidents._lock",
        "WrappedTransport._making",
        "LastGoodResponse._lock",
    }
    assert ours | {"Awakening._turn", "Registry._lock", "Handover._lock"} <= set(told["found"])
    assert told["stuck"] == []
