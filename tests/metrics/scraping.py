"""Reads what Prometheus would: the text of a scrape, parsed strictly."""

from collections.abc import Iterable

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.metrics_core import Metric
from prometheus_client.openmetrics.exposition import generate_latest as generate_openmetrics
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse

Labels = dict[str, str]


class Scrape:
    """The samples of one scrape, of which no two have the same name and labels."""

    def __init__(self, families: Iterable[Metric]) -> None:
        self.types: dict[str, str] = {}
        self._samples: dict[str, dict[frozenset[tuple[str, str]], float]] = {}
        for family in families:
            self.types[family.name] = family.type
            for sample in family.samples:
                series = self._samples.setdefault(sample.name, {})
                labels = frozenset(sample.labels.items())
                assert labels not in series, f"{sample.name}{sample.labels} is there twice"
                series[labels] = sample.value

    def series(self, name: str, **labels: str) -> list[tuple[Labels, float]]:
        """The samples of this name that have these labels, among others."""
        wanted = labels.items()
        return [
            (dict(found), value)
            for found, value in self._samples.get(name, {}).items()
            if wanted <= dict(found).items()
        ]

    def value(self, name: str, **labels: str) -> float:
        """The value of the one such sample."""
        [(_, value)] = self.series(name, **labels)
        return value

    def values(self, name: str, label: str, **labels: str) -> dict[str, float]:
        """The values of such samples by one of their labels."""
        found = self.series(name, **labels)
        values = {their[label]: value for their, value in found}
        assert len(values) == len(found), f"{label} does not tell apart {found}"
        return values

    def buckets(self, name: str, **labels: str) -> list[float]:
        """A histogram's buckets, each for itself, by rising bound."""
        cumulated = sorted(
            (float(bound), value)
            for bound, value in self.values(f"{name}_bucket", "le", **labels).items()
        )
        counts = [value for _, value in cumulated]
        return [upper - lower for lower, upper in zip([0.0, *counts], counts, strict=False)]

    @property
    def names(self) -> set[str]:
        """The names of all samples."""
        return set(self._samples)


def scrape(registry: CollectorRegistry) -> Scrape:
    """What a registry shows, in both formats, which must agree."""
    scraped = Scrape(parse(generate_latest(registry).decode()))
    strict = Scrape(parse_openmetrics(generate_openmetrics(registry).decode()))
    assert strict.names == scraped.names
    return scraped
