"""Prometheus metrics, with the names and labels of the Node Zenvark's.

A call pays nothing for them: breakers and coordinators keep plain numbers anyway, and those are
read when Prometheus asks.

Where several processes answer as one (`PROMETHEUS_MULTIPROC_DIR`), whoever is asked must know
the numbers of all. There each process adds once a second what it has counted since to the value
files of prometheus_client, which its `MultiProcessCollector` reads.
"""

from ._prometheus import PrometheusMetrics

__all__ = ["PrometheusMetrics"]
