"""The service's task workers: Celery, prefork. Each child process joins the fleet by itself."""

import os

import httpx
from celery import Celery
from celery.signals import worker_process_init, worker_process_shutdown

from tests.service.circuits import CATALOG, circuit_of, make_coordinator
from zenvark_web import BreakerTransport, CircuitOpenError

app = Celery("service", broker=os.environ["SERVICE_REDIS"], backend=os.environ["SERVICE_REDIS"])
app.conf.task_default_queue = os.environ["SERVICE_NAMESPACE"]
app.conf.broker_connection_retry_on_startup = True

coordinator = make_coordinator()
client = httpx.Client(
    transport=BreakerTransport(coordinator, when_open="raise"), base_url=CATALOG, timeout=5
)


@worker_process_init.connect
def join(**_: object) -> None:
    coordinator.start_sync()


@worker_process_shutdown.connect
def leave(**_: object) -> None:
    coordinator.stop_sync()


@app.task
def price() -> tuple[int, str]:
    """Which process called, and what came of it."""
    try:
        return os.getpid(), str(client.get("/price").status_code)
    except CircuitOpenError:
        return os.getpid(), "rejected"
    except httpx.HTTPError as error:
        return os.getpid(), type(error).__name__


@app.task
def state() -> tuple[int, str]:
    """Which process this is, and what it knows of the catalog's circuit."""
    return os.getpid(), coordinator.breaker(circuit_of(CATALOG)).state
