"""What type checkers make of the names for httpx2. Checked, never run."""

# pyright: reportUnnecessaryTypeIgnoreComment=true, reportUnusedFunction=false

from typing import Any, assert_type

import httpx2

import zenvark_web
from zenvark_web import Coordinator, Outcome, State
from zenvark_web.httpx2 import (
    Answer,
    BreakerTransport,
    CircuitOpenError,
    CircuitRoute,
    FixedResponse,
    HttpClassifier,
    HttpHealthCheck,
    LastGoodResponse,
    OtherUpstream,
    RequestSettings,
    by_header,
    by_host,
    default_classify,
)

coordinator = Coordinator()

# The transport fits into both clients, and around both kinds of transports.
httpx2.AsyncClient(transport=BreakerTransport(coordinator))
httpx2.Client(transport=BreakerTransport(coordinator))
httpx2.Client(mounts={"https://": BreakerTransport(coordinator), "http://": None})
BreakerTransport(coordinator, httpx2.HTTPTransport())
BreakerTransport(coordinator, httpx2.AsyncHTTPTransport(http2=True))
BreakerTransport(coordinator, httpx2.MockTransport(lambda request: httpx2.Response(200)))
BreakerTransport(coordinator, BreakerTransport(coordinator))
BreakerTransport(coordinator, httpx2.Client())  # type: ignore[arg-type]


# Which circuit, and with which settings.
def by_tenant(request: httpx2.Request) -> str | CircuitRoute | None:
    return CircuitRoute("tenant", when_open="raise") if request.url.path else None


BreakerTransport(coordinator, circuits=by_tenant)
BreakerTransport(coordinator, circuits=by_host)
BreakerTransport(coordinator, circuits=by_header("X-Tenant"))
BreakerTransport(coordinator, circuits={"*.example.com": "shop"})
BreakerTransport(
    coordinator,
    circuits={"*.example.com": "shop", "*.example.org": CircuitRoute("other", fallback=None)},
)
BreakerTransport(coordinator, circuits={"*.example.com": 7})  # type: ignore[dict-item]
CircuitRoute("name", when_open="return")  # type: ignore[arg-type]
CircuitRoute()  # type: ignore[call-arg]
RequestSettings(name="shop", classify=HttpClassifier(), when_open="raise")
RequestSettings(name=False, fallback=None)
RequestSettings(judge_chunk=None)
RequestSettings(nome="shop")  # type: ignore[typeddict-unknown-key]

# What counts.
BreakerTransport(coordinator, classify=default_classify)
BreakerTransport(coordinator, classify=HttpClassifier(failure_statuses=range(500, 600)))
HttpClassifier(ignored_errors=[httpx2.ConnectError, "PoolTimeout"], ignored_statuses={429})
HttpClassifier(ignored_errors=[7])  # type: ignore[list-item]
assert_type(default_classify(httpx2.Request("GET", "/"), httpx2.ReadError("")), Outcome)


def judge_chunk(line: bytes) -> Outcome | None:
    return Outcome.FAILURE if b"error" in line else None


def judge_text(line: str) -> Outcome | None:
    return None


BreakerTransport(coordinator, judge_chunk=judge_chunk)
CircuitRoute("name", judge_chunk=judge_chunk)
CircuitRoute("name", judge_chunk=judge_text)  # type: ignore[arg-type]


# While the circuit is open.
def response(request: httpx2.Request, error: CircuitOpenError) -> httpx2.Response | None:
    assert_type(error.state, State)
    return None


async def text(request: httpx2.Request, error: zenvark_web.CircuitOpenError) -> str:
    return error.name


def number(request: httpx2.Request, error: CircuitOpenError) -> int:
    return 7


BreakerTransport(coordinator, fallback=response)
BreakerTransport(coordinator, fallback=text)
BreakerTransport(coordinator, fallback=lambda request, error: {"items": []})
BreakerTransport(coordinator, fallback=lambda request, error: Answer(b"", 204))
BreakerTransport(coordinator, fallback=FixedResponse({"items": []}))
BreakerTransport(coordinator, fallback=LastGoodResponse(max_entries=10))
BreakerTransport(coordinator, fallback=OtherUpstream("https://eu.example.com"))
BreakerTransport(coordinator, fallback={"shop": response, "*": FixedResponse("sorry")})
BreakerTransport(coordinator, fallback=number)  # type: ignore[arg-type]


async def both_sides(request: httpx2.Request) -> None:
    async with BreakerTransport(coordinator) as transport:
        assert_type(transport, BreakerTransport)
        assert_type(await transport.handle_async_request(request), httpx2.Response)
    with BreakerTransport(coordinator) as transport:
        assert_type(transport, BreakerTransport)
        assert_type(transport.handle_request(request), httpx2.Response)


def errors_are_both(error: CircuitOpenError) -> tuple[zenvark_web.ZenvarkError, httpx2.HTTPError]:
    assert_type(error.request, httpx2.Request)
    return error, error


check: Any = HttpHealthCheck("https://example.com", expect={200}, timeout=1.0)
