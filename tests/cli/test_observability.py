"""`rules` and `grafana` print what Prometheus and Grafana load, for the names that a user has."""

import re

import pytest

from tests.helpers.command import ROOT, run


def test_examples_are_what_the_commands_print() -> None:
    for command, example in (("rules", "alerts.yml"), ("grafana", "dashboard.json")):
        printed = run(command)
        assert (printed.code, printed.err) == (0, "")
        assert printed.out == (ROOT / "examples" / example).read_text()


@pytest.mark.parametrize("command", ["rules", "grafana"])
def test_another_prefix(command: str) -> None:
    printed = run(command, "--prefix", "breakers")
    assert "breakers_state" in printed.out
    assert not re.search(r"\bzenvark_\w", printed.out)


def test_own_labels_tell_services_apart() -> None:
    printed = run("rules", "--label", "team", "--label", "tier").out
    assert "by (job, team, tier, namespace, exported_namespace, breaker_id)" in printed
    assert "service" not in printed


def test_runbooks_are_linked_where_they_are_published() -> None:
    address = "https://docs.example.com/runbooks"
    printed = run("rules", "--runbooks", address).out
    linked = re.findall(rf'runbook_url: "{re.escape(address)}#(\w+)"', printed)
    headings = re.findall(r"^## (\w+)$", (ROOT / "docs/runbooks.md").read_text(), re.MULTILINE)
    assert linked == [heading.lower() for heading in headings]
    assert len(linked) == printed.count("- alert: ")


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (("rules", "--prefix", "no prefix"), "prefix"),
        (("rules", "--label", "a-b"), "label"),
        (("rules", "--label", ""), "label"),
        (("grafana", "--prefix", ""), "prefix"),
    ],
)
def test_unusable_names_are_refused(arguments: tuple[str, ...], named: str) -> None:
    result = run(*arguments)
    assert result.code == 2
    assert result.err.startswith(f"zenvark-web {arguments[0]}: ")
    assert named in result.err
    assert result.out == ""
