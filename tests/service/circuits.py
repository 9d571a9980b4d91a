"""What the web workers and the task workers of the service have in common."""

import os
from urllib.parse import urlsplit

from zenvark_web import BreakerPolicy, ConsecutiveFailures, ConstantBackoff, Coordinator

CATALOG = os.environ["SERVICE_CATALOG"]
MODELS = os.environ["SERVICE_MODELS"]


def circuit_of(url: str) -> str:
    """The circuit that a transport gives to an address."""
    return urlsplit(url).netloc


def make_coordinator() -> Coordinator:
    return Coordinator(
        os.environ["SERVICE_REDIS"],
        namespace=os.environ["SERVICE_NAMESPACE"],
        policy=BreakerPolicy(
            strategy=ConsecutiveFailures(5),
            backoff=ConstantBackoff(float(os.environ["SERVICE_BACKOFF"])),
        ),
    )
