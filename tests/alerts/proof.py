"""Has promtool judge what the scenarios exposed."""

from __future__ import annotations

import json
import logging
import subprocess
import sys
from pathlib import Path

from tests.alerts.scenarios import SCENARIOS, Scenario
from tests.alerts.watched import INTERVAL, WatchedFleet

FIRED = 'group by (alertname) (max_over_time(ALERTS{alertstate="firing"}[1d]))'


def prove(promtool: str, rules: Path, directory: Path) -> None:
    """Have each scenario judged. Exits unless all fire what they should, and nothing else."""
    logging.disable()  # the fleets tell of their outages
    wrong = [each.name for each in SCENARIOS if not _holds(each, promtool, rules, directory)]
    if wrong:
        sys.exit(f"other alerts than expected: {', '.join(wrong)}")


def _holds(scenario: Scenario, promtool: str, rules: Path, directory: Path) -> bool:
    watched = scenario.story()
    watched.fleet.close()
    path = directory / f"{scenario.name.replace(' ', '-')}.json"  # JSON is YAML, too
    path.write_text(json.dumps(_cases(scenario, watched, rules)))
    judged = subprocess.run(
        [promtool, "test", "rules", path], check=False, capture_output=True, text=True
    )
    print(f"{'ok' if judged.returncode == 0 else 'WRONG'}: {scenario.name}")
    if judged.returncode:
        print(judged.stdout + judged.stderr)
    return judged.returncode == 0


def _cases(scenario: Scenario, watched: WatchedFleet, rules: Path) -> object:
    expected = [
        {"labels": f'{{alertname="{name}"}}', "value": 1} for name in sorted(scenario.fires)
    ]
    used = rules.read_text()
    return {
        "rule_files": [str(rules)],
        "evaluation_interval": f"{INTERVAL}s",
        "tests": [
            {
                "name": scenario.name,
                "interval": f"{INTERVAL}s",
                "input_series": [
                    {"series": name, "values": values}
                    for name, values in watched.scraped.items()
                    if name.partition("{")[0] in used
                ],
                "promql_expr_test": [
                    {
                        "expr": FIRED,
                        "eval_time": f"{round(watched.minutes)}m",
                        "exp_samples": expected,
                    }
                ],
            }
        ],
    }
