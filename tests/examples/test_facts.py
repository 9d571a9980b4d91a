"""Facts in the documentation that can be checked against the code: names and numbers."""

import re
from importlib import import_module
from inspect import signature
from pathlib import Path

import pytest

import zenvark_web
from tests.examples.pages import PAGES, named
from tests.helpers.processes import ROOT
from zenvark_web import Coordinator
from zenvark_web._http import classify
from zenvark_web.metrics._families import FULL

LOGGING = (ROOT / "docs/logging.md").read_text()


def page(name: str) -> str:
    return " ".join((ROOT / "docs" / name).read_text().split())


def test_api_shows_every_public_name_once() -> None:
    api = "".join(path.read_text() for path in ROOT.glob("docs/api/*.md"))
    shown = re.findall(r"^::: zenvark_web\.(\w+)$", api, re.MULTILINE)
    assert sorted([*shown, "__version__"]) == zenvark_web.__all__


NUMBERS = [
    ("redis-layout.md", "backends.redis", "MAX_RESULTS", "about {:,} entries, none older"),
    ("redis-layout.md", "backends.redis", "MAX_STATES", "up to about {:,} entries |"),
    ("redis-layout.md", "backends.redis", "READ_COUNT", "up to {} entries per read"),
    ("redis-layout.md", "backends._clients", "LONGEST_WAIT", "for up to {:.0f} s"),
    ("redis-layout.md", "backends.redis", "COMMAND_TIMEOUT", "has {:.0f} s to be answered"),
    ("redis-layout.md", "_judging.leader", "TIDY_INTERVAL", "by age every {:.0f} s"),
    ("redis-layout.md", "_judging.leader", "INSTANCE_SILENCE", "silent for {:.0f} s"),
    ("redis-layout.md", "_coordination.election", "ANNOUNCE_INTERVAL", "about every {:.0f} s)"),
    ("architecture.md", "_circuits.runs", "MAX_RUNS", "{:,} runs"),
    ("architecture.md", "_circuits.handover", "MAX_INCOMING", "with {:,} results in it"),
    ("architecture.md", "_circuits.handover", "COLLECTING", "closed circuits after {} s"),
    ("architecture.md", "_runtime.thread", "EXIT_PATIENCE", "no longer than {:.0f} s"),
    ("architecture.md", "_circuits.runs", "MAX_AGE", "and {:.0f} s."),
    ("architecture.md", "_coordination.reporter", "GATHERING", "up to {} s for further results"),
    ("architecture.md", "_core.trial", "HOLDER_SILENCE", "silent for {:.0f} s is replaced"),
    ("strategies.md", "_core.counting", "LONGEST_WINDOW", "in up to {:,} characters"),
    ("strategies.md", "_judging.leader", "TIDY_INTERVAL", "to Redis every {:.0f} s"),
    (
        "architecture.md",
        "_judging.leader",
        "TIDY_INTERVAL",
        "every {:.0f} s the leader",
    ),
    ("strategies.md", "_circuits.runs", "MAX_AGE", "more than {:.0f} s old"),
    ("health-checks.md", "_judging.health", "CHECK_TIMEOUT", "A check has {:.0f} s"),
    ("health-checks.md", "_judging.health", "MAX_CHECKS", "at most {} checks at a time"),
    ("health-checks.md", "_core.admission", "CUT_OFF", "within the last {:.0f} s"),
    ("health-checks.md", "_core.trial", "TIME_TO_USE", "used it for {:.1f} s"),
    ("health-checks.md", "_core.admission", "TRIAL_RETRY_AFTER", "it is {:.0f} s."),
    ("health-checks.md", "_core.trial", "HOLDER_SILENCE", "silent for {:.0f} s passes"),
    ("health-checks.md", "_core.trial", "TRIAL_PATIENCE", "answered after {:.0f} s"),
    ("deployment.md", "backends.redis", "COMMAND_TIMEOUT", "| a command | {:.0f} s |"),
    (
        "deployment.md",
        "backends._clients",
        "LONGEST_WAIT",
        "| a blocking read | waits for {:.0f} s,",
    ),
    ("deployment.md", "_circuits.runs", "MAX_AGE", "until it is in Redis | {:.0f} s |"),
    (
        "deployment.md",
        "_coordination.election",
        "ANNOUNCE_INTERVAL",
        "heartbeat | every {:.0f} s |",
    ),
    ("deployment.md", "_judging.leader", "INSTANCE_SILENCE", "after {:.0f} s |"),
    ("deployment.md", "_judging.health", "CHECK_TIMEOUT", "a health check | {:.0f} s |"),
    ("deployment.md", "_core.trial", "HOLDER_SILENCE", "a trial's holder | silent for {:.0f} s |"),
    ("failure-modes.md", "_circuits.runs", "MAX_AGE", "up to {:.0f} s and"),
    ("failure-modes.md", "_circuits.runs", "MAX_RUNS", "{:,} runs"),
    ("failure-modes.md", "_judging.health", "CHECK_TIMEOUT", "after {:.0f} s and counts"),
    ("failure-modes.md", "_runtime.notifier", "CALLBACK_TIMEOUT", "after {:.0f} s; other"),
    ("command-line.md", "backends.asking", "PATIENCE", "waits up to {:.0f} s for each reply"),
    ("command-line.md", "cli.pages", "ROWS", "beyond the first {}"),
    ("command-line.md", "backends.views", "SILENCE", "no heartbeats for {:.0f} s"),
    ("httpx.md", "_core._checks", "MAX_NAME_LENGTH", "longer than {} characters"),
]


@pytest.mark.parametrize(("name", "module", "constant", "phrase"), NUMBERS)
def test_number_is_the_codes(name: str, module: str, constant: str, phrase: str) -> None:
    value = getattr(import_module(f"zenvark_web.{module}"), constant)
    assert phrase.format(value) in page(name)


def test_defaults_are_the_codes() -> None:
    parameters = signature(Coordinator).parameters
    assert f"`lease_ttl`, {parameters['lease_ttl'].default:.0f} s by default" in page(
        "architecture.md"
    )
    assert f"| `lease_ttl` | {parameters['lease_ttl'].default:.0f} s |" in page("deployment.md")
    assert f"{parameters['max_breakers'].default:,} by default" in page("httpx.md")
    for name in ("ExponentialBackoff", "HttpHealthCheck"):
        told = re.search(rf"`{name}\((.*?)\)`", page("health-checks.md"))
        assert told is not None
        settings = signature(getattr(zenvark_web, name)).parameters
        defaults = re.findall(r"(\w+)=([\d.]+)(?:,|$)", told[1])
        assert defaults
        assert all(settings[key].default == float(value) for key, value in defaults)


def test_httpx_page_tells_every_status_and_error() -> None:
    text = (ROOT / "docs/httpx.md").read_text()
    [told] = re.findall(r"^\| status 5xx except (.*?), or (.*?) \| failure", text, re.MULTILINE)
    excepted, further = ({int(number) for number in re.findall(r"\d+", part)} for part in told)
    assert {
        *range(500, classify.LARGEST_STATUS + 1)
    } - excepted | further == classify.FAILURE_STATUSES
    for error in classify.IGNORED_ERRORS:
        assert f"`{error}`" in text


@pytest.mark.parametrize("path", PAGES, ids=named)
def test_metrics_that_are_named_exist(path: Path) -> None:
    suffixes = {"counter": ("_total",), "histogram": ("", "_count", "_bucket", "_sum")}
    known = {
        f"zenvark_{family.name}{suffix}"
        for family in FULL.all
        for suffix in suffixes.get(family.kind, ("",))
    }
    fixtures = set(vars(import_module("zenvark_web.testing.pytest")))
    named = set(re.findall(r"\bzenvark_(?!web)\w+", path.read_text()))
    logged = re.findall(r"^\| `(zenvark_\w+)` \|", LOGGING, re.MULTILINE)  # tried with the log
    assert named <= known | fixtures | set(logged)
