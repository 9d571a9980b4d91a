"""Alert rules, a dashboard and runbooks for the metrics, generated from one table.

zenvark-web rules > rules.yml
zenvark-web grafana > dashboard.json
"""

from ._dashboard import dashboard
from ._rules import rules

__all__ = ["dashboard", "rules"]
