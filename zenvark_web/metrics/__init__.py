"""Prometheus metrics, with the names and labels of the Node Zenvark.

Calls do not pay for them: breakers and coordinators keep plain numbers anyway, which are read at
each scrape.

With several processes behind one endpoint (`PROMETHEUS_MULTIPROC_DIR`), the scraped process needs
the numbers of all. Each process adds its new counts once a second to the value files of
prometheus_client, which `MultiProcessCollector` reads.
"""

from ._prometheus import PrometheusMetrics

__all__ = ["PrometheusMetrics"]
