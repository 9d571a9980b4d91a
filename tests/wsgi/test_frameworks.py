"""Flask and Django under WSGI, which answer for exceptions themselves; and servers that fork."""

import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import flask
import httpx
import pytest
from django.core.handlers.wsgi import WSGIHandler
from django.http import HttpRequest, HttpResponse
from django.test import override_settings
from django.urls import path

from tests.examples.pages import blocks
from tests.frameworks.apps import configure_django
from tests.helpers.processes import ROOT
from tests.helpers.waiting import PATIENCE, eventually_sync
from zenvark_web import BreakerPolicy, ConsecutiveFailures, ConstantBackoff, Coordinator, State
from zenvark_web.wsgi import BreakerMiddleware

BRISK = BreakerPolicy(strategy=ConsecutiveFailures(1), backoff=ConstantBackoff(60))
coordinator = Coordinator()


@pytest.fixture(autouse=True)
def upstream(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The circuit `upstream` is open."""
    monkeypatch.setitem(globals(), "coordinator", Coordinator(policy=BRISK))
    with coordinator:
        breaker = coordinator.breaker("upstream")
        with pytest.raises(ConnectionError), breaker.guard():
            raise ConnectionError
        eventually_sync(lambda: breaker.state is State.OPEN, within=PATIENCE)
        yield


def call() -> str:
    with coordinator.breaker("upstream").guard():
        return "never"


def flask_app() -> Any:
    app = flask.Flask("shop")
    app.add_url_rule("/call", view_func=call)
    app.add_url_rule("/broken", "broken", lambda: 1 / 0)
    return app


def django_call(_: HttpRequest) -> HttpResponse:
    return HttpResponse(call())


def django_broken(_: HttpRequest) -> HttpResponse:
    raise ZeroDivisionError


urlpatterns = [path("call", django_call), path("broken", django_broken)]


def django_app() -> Any:
    return WSGIHandler()


@pytest.mark.parametrize("make", [flask_app, django_app])
def test_a_rejection_is_a_503_and_no_failure_of_the_route(make: Any) -> None:
    circuit = make.__name__
    configure_django()
    with override_settings(ROOT_URLCONF=__name__, MIDDLEWARE=[]):
        app = BreakerMiddleware(make(), coordinator, routes={"/": circuit})
        _blames_no_route(app, circuit)


def _blames_no_route(app: Any, circuit: str) -> None:
    with httpx.Client(transport=httpx.WSGITransport(app), base_url="http://shop") as client:
        response = client.get("/call")
        assert response.status_code == 503
        assert response.json()["type"] == "urn:zenvark:problem:circuit-open"
        assert coordinator.breaker(circuit).state is State.CLOSED
        assert client.get("/broken").status_code == 500
        own = coordinator.breaker(circuit)
        eventually_sync(lambda: own.state is State.OPEN, within=PATIENCE)
        assert client.get("/call").json()["type"] == "urn:zenvark:problem:route-unavailable"


def test_the_page_shows_a_handler_that_keeps_tracebacks_out_of_the_log(
    caplog: pytest.LogCaptureFixture,
) -> None:
    names: dict[str, Any] = {}
    exec(next(blocks(ROOT / "docs/wsgi.md")).text.replace('"redis://localhost:6379", ', ""), names)
    bank = names["coordinator"].breaker("bank")
    with names["coordinator"]:
        for _ in range(5):
            with pytest.raises(ConnectionError), bank.guard():
                raise ConnectionError
        eventually_sync(lambda: bank.state is State.OPEN, within=PATIENCE)
        response = names["app"].test_client().get("/balance")
    assert response.status_code == 503
    assert response.headers["retry-after"]
    assert response.json["type"] == "urn:zenvark:problem:circuit-open"
    assert [record for record in caplog.records if record.exc_info] == []


FORKS = """
import os, httpx
from zenvark_web import Coordinator
from zenvark_web.wsgi import BreakerMiddleware

def app(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"fine"]

coordinator = Coordinator()
guarded = BreakerMiddleware(app, coordinator)
client = httpx.Client(transport=httpx.WSGITransport(guarded), base_url="http://shop")
client.get("/")
assert coordinator.running
child = os.fork()
if not child:
    assert not coordinator.running
    client.get("/")
    os._exit(0 if coordinator.running else 1)
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""


def test_a_forked_worker_starts_its_own() -> None:
    shown = subprocess.run(
        [sys.executable, "-W", "error", "-c", FORKS],
        capture_output=True,
        check=True,
        text=True,
        timeout=PATIENCE,
    )
    assert shown.stdout.strip() == "0", shown.stderr
