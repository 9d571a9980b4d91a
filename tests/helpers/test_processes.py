"""Child processes speak the protocol, and failures say what happened."""

import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from tests.helpers.processes import ROOT, ChildError, ChildProcess, StartChild
from tests.helpers.waiting import eventually_sync

MODULE = "tests.helpers.echo_child"
SCRIPT = Path(__file__).with_name("echo_child.py")


@pytest.mark.parametrize("target", [MODULE, SCRIPT], ids=["module", "script"])
def test_commands_are_answered(start_child: StartChild, target: Path | str) -> None:
    child = start_child(target, "one", "two", env={"EXAMPLE": "value"})
    assert child.call("echo", value=[1, None, "ä\n"]) == [1, None, "ä\n"]
    assert child.call("later", value=2) == 2
    assert child.call("arguments") == ["one", "two"]
    assert child.call("variable", name="EXAMPLE") == "value"
    assert child.stop() == 0


@pytest.mark.parametrize("value", ["x" * 200_000])
def test_starts_in_a_test_of_a_huge_value(start_child: StartChild, value: str) -> None:
    assert start_child(MODULE).call("echo", value=len(value)) == len(value)


async def test_commands_are_answered_to_async_tests(start_child: StartChild) -> None:
    child = start_child(MODULE)
    assert await child.acall("echo", value=1) == 1


def test_failed_command_shows_error_and_stderr(start_child: StartChild) -> None:
    child = start_child(MODULE)
    with pytest.raises(ChildError, match=r"(?s)ValueError\('wrong'\).*its stderr.*wrong"):
        child.call("complain", text="wrong")
    assert child.call("echo", value="alive") == "alive"


def test_stray_output_is_reported(start_child: StartChild) -> None:
    child = start_child(MODULE)
    with pytest.raises(ChildError, match="stray"):
        child.call("chatter")


def test_paused_child_is_silent_until_resumed(start_child: StartChild) -> None:
    child = start_child(MODULE)
    assert child.call("echo", value="ready") == "ready"
    child.pause()
    child.send({"do": "echo", "value": 1})
    with pytest.raises(ChildError, match="said nothing"):
        child.receive(within=0.1)
    child.resume()
    assert child.receive() == {"result": 1}


def test_killed_child_is_reported_as_ended(start_child: StartChild) -> None:
    child = start_child(MODULE)
    child.kill()
    with pytest.raises(ChildError, match=f"ended with -{signal.SIGKILL.value}"):
        child.call("echo", value=1)


def test_child_that_ends_instead_of_replying_is_reported(start_child: StartChild) -> None:
    child = start_child(MODULE)
    with pytest.raises(ChildError, match=r"closed its output \(it ended with 3\)"):
        child.call("leave", code=3)


def test_terminated_child_ends_also_when_paused(start_child: StartChild) -> None:
    child = start_child(MODULE)
    child.pause()
    child.terminate()
    assert not child.running


def test_closing_ends_a_child_that_is_paused() -> None:
    with ChildProcess(MODULE) as child:
        child.pause()
    assert not child.running


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux ties a child's life to ours")
def test_children_die_with_a_killed_parent() -> None:
    parent = textwrap.dedent(f"""
        from tests.helpers.processes import ChildProcess
        child = ChildProcess({MODULE!r})
        print(child.pid, flush=True)
        child.call("block", within=60, seconds=60)
    """)
    with subprocess.Popen([sys.executable, "-c", parent], cwd=ROOT, stdout=subprocess.PIPE) as run:
        assert run.stdout is not None
        child_pid = int(run.stdout.readline())
        run.kill()
    eventually_sync(lambda: not _exists(child_pid), what="the grandchild's end")


def _exists(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    # An orphan that nobody reaps stays a zombie in a container without an init process.
    return ") Z " not in Path(f"/proc/{pid}/stat").read_text()
