"""Hypothesis for this suite: the same examples in every run, and no stopwatch on busy machines.

`HYPOTHESIS_PROFILE=search` looks for new ones, longer.
"""

import os

from hypothesis import HealthCheck, settings

settings.register_profile(
    "steady", deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow]
)
settings.register_profile("search", deadline=None, max_examples=5000)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "steady"))
