"""docs/metrics.md names what there is."""

import re
from pathlib import Path

from prometheus_client import CollectorRegistry

from zenvark_web.metrics import PrometheusMetrics

PAGE = (Path(__file__).parents[2] / "docs/metrics.md").read_text()
RULES = (Path(__file__).parents[2] / "examples/alerts.yml").read_text()
SUFFIXES = {"counter": {"_total"}, "gauge": {""}, "histogram": {"_bucket", "_count", "_sum"}}


def test_names() -> None:
    metrics = {
        family.name: family.type for family in PrometheusMetrics(CollectorRegistry()).describe()
    }
    tabled = dict(re.findall(r"^\| `(zenvark_\w+)` \| (\w+) \|", PAGE, re.MULTILINE))
    assert tabled == {
        name + ("_total" if kind == "counter" else ""): kind for name, kind in metrics.items()
    }
    samples = {name + suffix for name, kind in metrics.items() for suffix in SUFFIXES[kind]}
    named = set(re.findall(r"\bzenvark_\w+", PAGE)) - {"zenvark_web"}
    assert named <= samples | set(metrics)
    assert set(re.findall(r"\bzenvark_\w+", RULES)) <= samples
