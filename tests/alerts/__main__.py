"""Tries the alert rules with promtool, which Debian's package `prometheus` has.

    python -m tests.alerts

`nox -s alerts` fetches promtool if it is missing. `PROMTOOL` names another one.
"""

import asyncio
import os
import shutil
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from prometheus_client import CollectorRegistry, generate_latest

from tests.alerts.proof import prove
from zenvark_web import BreakerPolicy, ConsecutiveFailures, Coordinator, Outcome
from zenvark_web.metrics import PrometheusMetrics

HERE = Path(__file__).parent
RULES = HERE.parents[1] / "examples/alerts.yml"


def main() -> None:
    """Check the rules, run each case and each scenario, then have a real scrape judged."""
    promtool = os.environ.get("PROMTOOL") or shutil.which("promtool")
    if promtool is None:
        sys.exit("promtool is missing: install Debian's package `prometheus`, or set PROMTOOL")
    subprocess.run([promtool, "check", "rules", RULES], check=True)
    for cases in sorted(HERE.glob("*.yml")):
        subprocess.run([promtool, "test", "rules", cases], check=True)
    with TemporaryDirectory() as directory:
        prove(promtool, RULES, Path(directory))
    for histograms in (True, False):
        scraped = asyncio.run(scrape(histograms=histograms))
        subprocess.run([promtool, "check", "metrics"], input=scraped, check=True)


async def scrape(*, histograms: bool) -> bytes:
    """What a real process shows."""
    registry = CollectorRegistry()
    metrics = PrometheusMetrics(registry, histograms=histograms, max_circuits=1)
    policy = BreakerPolicy(strategy=ConsecutiveFailures(1))
    async with Coordinator(metrics=metrics, policy=policy) as coordinator:
        for name in ("payments", "mail", "search"):
            coordinator.breaker(name).acquire().record(Outcome.FAILURE, "HTTP 503")
        while coordinator.breaker("search").state == "closed":
            await asyncio.sleep(0.01)
        return generate_latest(registry)


if __name__ == "__main__":
    main()
