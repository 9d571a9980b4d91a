"""What the web workers and the task workers of the service have in common."""

import os
from urllib.parse import urlsplit

from zenvark_web import BreakerPolicy, ConsecutiveFailures, ConstantBackoff, Coordinator

CATALOG = os.environ["SERVICE_CATALOG"]
MODELS = os.environ["SERVICE_MODELS"]

PATIENCE = 20
"""Failures in a row after which a route of the service's own has a problem of its own."""


def circuit_of(url: str) -> str:
    """The circuit that a transport gives to an address."""
    return urlsplit(url).netloc


def make_coordinator() -> Coordinator:
    backoff = ConstantBackoff(float(os.environ["SERVICE_BACKOFF"]))
    # What passes the failures of an upstream on fails itself, until that one's circuit is open.
    own_routes = BreakerPolicy(strategy=ConsecutiveFailures(PATIENCE), backoff=backoff)
    return Coordinator(
        os.environ["SERVICE_REDIS"],
        namespace=os.environ["SERVICE_NAMESPACE"],
        policy=BreakerPolicy(strategy=ConsecutiveFailures(5), backoff=backoff),
        policies={"route-*": own_routes},
    )
