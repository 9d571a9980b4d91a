"""Adapts expressions to the names and labels that a `PrometheusMetrics` exports."""

from __future__ import annotations

import re
from collections.abc import Sequence

SERVICE = "service"
"""The label by which services are told apart, unless a user names others."""

IDENTITY = "<id>"
"""Stands in an expression for the labels that identify a fleet."""

_LABEL = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]*")
_METRIC = re.compile(r"\bzenvark_(?=[a-z])")
_PREFIX = re.compile(r"[a-zA-Z_:][a-zA-Z0-9_:]*")


class Naming:
    """The names in expressions.

    Args:
        prefix: That of `PrometheusMetrics`.
        labels: The labels of the user's own that tell services apart.

    Raises:
        TypeError, ValueError: A name is not usable in Prometheus.
    """

    def __init__(self, prefix: str = "zenvark", labels: Sequence[str] = (SERVICE,)) -> None:
        if not _PREFIX.fullmatch(prefix):
            raise ValueError(f"prefix must be a metric name such as 'breakers', not {prefix!r}")
        for label in labels:
            if not _LABEL.fullmatch(label):
                raise ValueError(f"a label must be a label name such as 'team', not {label!r}")
        self._prefix = prefix
        # In Kubernetes, Prometheus renames ours to `exported_namespace` if targets have their own.
        self._identity = ", ".join(("job", *labels, "namespace", "exported_namespace"))

    def __call__(self, expression: str) -> str:
        """An expression of the tables, with these names."""
        named = _METRIC.sub(f"{self._prefix}_", expression)
        return named.replace(IDENTITY, self._identity)
