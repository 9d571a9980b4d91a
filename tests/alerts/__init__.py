"""The alert rules, tried with promtool: `python -m tests.alerts`."""
