"""`python -m zenvark_web.testing`."""

import pytest

from zenvark_web.testing.simulation.command import main

SHORT = ["--hours", "0.01", "--instances", "2", "--calls", "2"]


def run(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> object:
    monkeypatch.setattr("sys.argv", ["simulate", *SHORT, *arguments])
    with pytest.raises(SystemExit) as ended:
        main()
    return ended.value.code


def test_many_seeds(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(monkeypatch, "--seeds", "2", "--first", "5") == 0
    told = capsys.readouterr().out
    assert "virtual hours, 2 seeds in " in told
    assert told.endswith("; 0 failed\n")


def test_several_at_a_time(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(monkeypatch, "--seeds", "3", "--jobs", "2") == 0
    assert ", 3 seeds in " in capsys.readouterr().out


def test_seeds_that_fail_are_named(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("zenvark_web.testing.simulation.checks.TASKS_PER_SHARD", -1000)
    assert run(monkeypatch, "--seeds", "1", "--first", "5") == 1
    told = capsys.readouterr().out
    assert told.startswith("seed 5, at ")
    assert told.endswith("1 failed: --seed 5\n")


def test_history_of_one(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.argv", ["simulate", *SHORT, "--seed", "5"])
    main()
    assert "is a leader now" in capsys.readouterr().out


def test_impossible_settings(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(monkeypatch, "--calls", "0") == 2
    assert "error: calls must be above 0, not 0.0" in capsys.readouterr().err
