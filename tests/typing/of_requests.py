"""What type checkers make of the adapter for requests. Checked, never run."""

# pyright: reportUnnecessaryTypeIgnoreComment=true, reportUnusedFunction=false

from typing import assert_type

import httpx
import requests
from requests.adapters import HTTPAdapter

import zenvark_web
from zenvark_web import Coordinator, FixedResponse, LastGoodResponse, Outcome
from zenvark_web.requests import BreakerAdapter, CircuitOpenError, default_classify

coordinator = Coordinator()
session = requests.Session()
session.mount("https://", BreakerAdapter(coordinator))
BreakerAdapter(coordinator, HTTPAdapter(max_retries=2), when_open="raise")
BreakerAdapter(coordinator, BreakerAdapter(coordinator))
BreakerAdapter(coordinator, requests.Session())  # type: ignore[arg-type]
BreakerAdapter(coordinator, when_open="fail")  # type: ignore[arg-type]
BreakerAdapter(coordinator, circuits={"*.example.com": "example"}, fallback=LastGoodResponse())
BreakerAdapter(coordinator, fallback={"example": FixedResponse([]), "*": FixedResponse(b"")})


def by_tenant(request: httpx.Request) -> str | None:
    return str(request.headers.get("X-Tenant"))


def classify(request: httpx.Request, ended: httpx.Response | Exception) -> Outcome:
    return default_classify(request, ended)


BreakerAdapter(coordinator, circuits=by_tenant, classify=classify)
assert_type(
    BreakerAdapter(coordinator).send(requests.PreparedRequest(), timeout=3), requests.Response
)


def errors_are_both(error: CircuitOpenError) -> tuple[zenvark_web.ZenvarkError, OSError]:
    return error, error
