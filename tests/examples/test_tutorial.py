"""The tutorial, followed as a reader follows it: the files it shows, saved and run."""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import pytest

from tests.examples.pages import FENCE
from tests.helpers.children import Child
from tests.helpers.ports import HOST, Port
from tests.helpers.processes import ROOT
from tests.helpers.servers import RedisServer
from tests.helpers.waiting import eventually_sync

PAGE = (ROOT / "docs/tutorial.md").read_text()
PATIENCE = 40.0


def step(number: int) -> str:
    [text] = re.findall(rf"^## {number}\. .*\n((?s:.*?))(?=^## )", PAGE, re.MULTILINE)
    return str(text)


def shown(number: int) -> dict[str, str]:
    """The files that a step shows, by their names."""
    return {
        match[0].partition('title="')[2].partition('"')[0]: match["text"]
        for match in FENCE.finditer(step(number))
        if match["language"] == "python"
    }


def replaced(text: str, words: Mapping[str, str]) -> str:
    for old, new in words.items():
        text = text.replace(old, new)
    return text


@dataclass
class Reader:
    """Somebody with terminals, in a directory of their own."""

    directory: Path
    upstream: Port
    redis_url: str
    processes: list[tuple[Child, Path]] = field(default_factory=list)

    def save(self, number: int) -> None:
        ours = {
            "redis://localhost:6379": self.redis_url,
            '("localhost", 8000)': f'("{HOST}", {self.upstream.number})',
            "localhost:8000": f"{HOST}:{self.upstream.number}",
        }
        for name, text in shown(number).items():
            (self.directory / name).write_text(replaced(text, ours))

    def run(self, *command: str) -> "Terminal":
        output = self.directory / f"output-{len(self.processes)}"
        with output.open("wb") as file:
            child = Child(
                [sys.executable, *command],
                cwd=self.directory,
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=file,
                env={**os.environ, "PYTHONPATH": str(ROOT)},
            )
        self.processes.append((child, output))
        return Terminal(child, output)

    def touch_broken(self) -> None:
        (self.directory / "broken").touch()

    def rm_broken(self) -> None:
        (self.directory / "broken").unlink()

    def start_upstream(self) -> "Terminal":
        self.save(2)
        terminal = self.run("upstream.py")
        address = f"http://{HOST}:{self.upstream.number}/hello"

        def answers() -> bool:
            try:
                return httpx.get(address, trust_env=False).is_success
            except httpx.ConnectError:
                return False

        eventually_sync(answers, within=PATIENCE, what="an upstream that answers")
        return terminal


@dataclass
class Terminal:
    """A program that runs, and what it has printed."""

    child: Child
    output: Path

    @property
    def lines(self) -> list[str]:
        return self.output.read_text().splitlines()

    def shows(self, pattern: str, *, after: int = 0) -> int:
        """Wait for a line; returns how many lines there are up to it."""

        def found() -> int:
            for number, line in enumerate(self.lines):
                if number >= after and re.fullmatch(pattern, line):
                    return number + 1
            return 0

        return eventually_sync(found, within=PATIENCE, what=f"{pattern!r} in {self.output}")


@pytest.fixture
def reader(tmp_path: Path, fresh_server: RedisServer) -> Iterator[Reader]:
    port = Port()
    reader = Reader(tmp_path, port, fresh_server.url)
    yield reader
    for child, _ in reader.processes:
        child.terminate(within=5.0)
    port.release()


def test_every_step_is_there() -> None:
    assert re.findall(r"^## (\d+)\. ", PAGE, re.MULTILINE) == [str(n) for n in range(1, 11)]


def test_calls_without_a_breaker_all_reach_the_upstream(reader: Reader) -> None:
    upstream = reader.start_upstream()
    reader.save(3)
    calls = reader.run("calls.py")
    calls.shows("200")
    reader.touch_broken()
    calls.shows("500")
    eventually_sync(
        lambda: upstream.lines.count("upstream: /price 500") > 8, within=PATIENCE, what="failures"
    )


def test_a_breaker_in_one_process_opens_and_closes(reader: Reader) -> None:
    reader.start_upstream()
    reader.save(4)
    calls = reader.run("calls.py")
    calls.shows("200 from the upstream")
    reader.touch_broken()
    opened = calls.shows("503 from the breaker")
    assert 5 <= calls.lines[:opened].count("500 from the upstream") <= 6
    reader.rm_broken()
    calls.shows("200 from the upstream", after=opened)


def test_a_callback_tells_why(reader: Reader) -> None:
    reader.start_upstream()
    reader.save(5)
    reader.touch_broken()
    calls = reader.run("calls.py")
    [printed] = [m["text"] for m in FENCE.finditer(step(5)) if m["language"] == "text"]
    opened, half_open, closed = (
        re.escape(line)
        .replace("localhost:8000", rf"{HOST}:\d+")
        .replace(re.escape("laptop-4711-1f0c2a9b"), r"\S+")
        for line in printed.splitlines()
    )
    calls.shows(opened)
    reader.rm_broken()
    calls.shows(closed, after=calls.shows(half_open))


def test_two_processes_share_a_circuit_and_survive_their_leader(reader: Reader) -> None:
    reader.start_upstream()
    reader.save(7)
    first = reader.run("fleet.py")
    first.shows(r"\d+ leader 200 upstream")
    second = reader.run("fleet.py")
    second.shows(r"\d+ follower 200 upstream")
    reader.touch_broken()
    first.shows(r"\d+ leader 503 breaker")
    second.shows(r"\d+ follower 503 breaker")
    failures = sum(" 500 " in line for terminal in (first, second) for line in terminal.lines)
    assert failures < 10
    third = reader.run("fleet.py")
    third.shows(r"\d+ follower 503 breaker")
    assert not any(" 200 " in line for line in third.lines)
    third.child.kill()
    first.child.kill()
    second.shows(r"\d+ leader 503 breaker", after=len(second.lines))


def test_a_health_check_closes_the_circuit(reader: Reader) -> None:
    upstream = reader.start_upstream()
    reader.save(9)
    fleet = [reader.run("fleet.py"), reader.run("fleet.py")]
    for terminal in fleet:
        terminal.shows(r"\d+ \w+ 200 upstream")
    reader.touch_broken()
    opened = [terminal.shows(r"\d+ \w+ 503 breaker") for terminal in fleet]
    upstream.shows("upstream: /health 500")
    reader.rm_broken()
    for terminal, after in zip(fleet, opened, strict=True):
        terminal.shows(r"\d+ \w+ 200 upstream", after=after)


def test_an_app_with_two_workers_answers_at_once(reader: Reader) -> None:
    reader.start_upstream()
    reader.save(10)
    app = reader.run("-m", "uvicorn", "app:app", "--workers", "2", "--port", "0")

    def address() -> str | None:
        found = re.search(r"running on (http://\S+)", "\n".join(app.lines))
        return found and found[1]

    url = str(eventually_sync(address, within=PATIENCE, what="an address"))
    started = "INFO:     Application startup complete."
    eventually_sync(lambda: app.lines.count(started) == 2, within=PATIENCE, what="both workers")
    reader.touch_broken()

    def price() -> httpx.Response:
        return httpx.get(f"{url}/price", trust_env=False, timeout=PATIENCE)

    eventually_sync(lambda: price().status_code == 503, within=PATIENCE, what="the circuit open")
    rejected = price()
    told = next(m["text"] for m in FENCE.finditer(step(10)) if m["language"] == "http")
    for line in told.splitlines()[1:2]:
        name, _, value = line.partition(": ")
        assert rejected.headers[name] == value
    assert int(rejected.headers["retry-after"]) >= 1


@pytest.mark.skipif(shutil.which("bash") is None, reason="the commands are for bash")
def test_commands_are_those_of_a_shell() -> None:
    for match in FENCE.finditer(PAGE):
        if match["language"] == "bash":
            checked = subprocess.run(["bash", "-n", "-c", match["text"]], check=False)
            assert checked.returncode == 0
