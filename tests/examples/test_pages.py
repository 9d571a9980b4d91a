"""The documentation's code runs, its links lead somewhere, and what it names exists."""

import ast
import re
from io import BytesIO
from pathlib import Path
from types import CodeType
from typing import Any

import httpx
import pytest
from flask import Flask
from requests import PreparedRequest, Response
from requests.adapters import HTTPAdapter
from starlette.testclient import TestClient
from urllib3 import HTTPResponse

from tests.examples.pages import PAGES, Block, blocks, headings, named
from tests.helpers.servers import ServerHandle
from tests.helpers.waiting import eventually_sync

OF_THE_SERVICE = {"workers.md", "llm-sdks.md"}
"""Pages whose blocks `nox -s service` runs."""

ALL = [block for page in PAGES if page.name not in OF_THE_SERVICE for block in blocks(page)]
FRAGMENTS = {"metrics.md", "frameworks.md", "tutorial.md"}
"""Pages whose blocks go on from one another, or belong into other programs' files; tests/frameworks
and test_tutorial.py run what is in the latter."""


def compiled(block: Block, **replacements: str) -> CodeType:
    text = block.text
    for old, new in replacements.items():
        text = text.replace(old, new)
    return compile("\n" * block.line + text, block.page, "exec", dont_inherit=True)


@pytest.fixture
def internet(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every host answers with a price."""

    def answer_sync(_: httpx.HTTPTransport, request: httpx.Request) -> httpx.Response:
        return httpx.Response(200, json={"amount": 42.0})

    async def answer(_: httpx.AsyncHTTPTransport, request: httpx.Request) -> httpx.Response:
        return httpx.Response(200, json={"amount": 42.0})

    def answer_requests(_: HTTPAdapter, request: PreparedRequest, **__: object) -> Response:
        response = Response()
        response.status_code, response.url, response.request = 200, request.url or "", request
        response.raw = HTTPResponse(BytesIO(b'{"amount": 42.0}'), preload_content=False)
        return response

    monkeypatch.setattr(HTTPAdapter, "send", answer_requests)
    monkeypatch.setattr(httpx.HTTPTransport, "handle_request", answer_sync)
    monkeypatch.setattr(httpx.AsyncHTTPTransport, "handle_async_request", answer)


@pytest.mark.parametrize("block", ALL, ids=str)
def test_every_block_is_python_that_imports_what_exists(block: Block) -> None:
    compiled(block)
    imports = [
        node for node in ast.parse(block.text).body if isinstance(node, ast.Import | ast.ImportFrom)
    ]
    exec(compile(ast.Module(imports, []), block.page, "exec"), {})


@pytest.mark.parametrize(
    "block", [block for block in ALL if block.page.name not in FRAGMENTS], ids=str
)
@pytest.mark.usefixtures("internet")
def test_complete_block_runs(
    block: Block, redis_server: ServerHandle, capsys: pytest.CaptureFixture[str]
) -> None:
    names: dict[str, Any] = {"__name__": "__main__"}
    exec(compiled(block, **{"redis://localhost:6379": redis_server.url}), names)
    if block.printed is not None:
        assert _shape(capsys.readouterr().out) == _shape(block.printed)
    if isinstance(names.get("app"), Flask):
        _visit_flask(names["app"])
        names["coordinator"].stop_sync()
    elif "app" in names:
        _visit(names["app"])


def _shape(text: str) -> str:
    """A text but for its numbers."""
    return re.sub(r"[\d.]+", "0", text)


def _visit(app: Any) -> None:
    routes = [
        route for route in app.routes if "/openapi" not in route.path and "doc" not in route.path
    ]
    with TestClient(app) as client:
        for route in routes:
            response = client.get(re.sub(r"\{\w+\}", "1", route.path))
            assert response.status_code == 200, response.text


def _visit_flask(app: Flask) -> None:
    client = app.test_client()
    for rule in app.url_map.iter_rules():
        if rule.endpoint != "static":
            assert client.get(rule.rule).status_code == 200


def test_first_app_answers_for_an_upstream_that_is_down(
    redis_server: ServerHandle, namespace: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def refuse(_: httpx.AsyncHTTPTransport, request: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("connection refused", request=request)

    monkeypatch.setattr(httpx.AsyncHTTPTransport, "handle_async_request", refuse)
    first = next(block for block in ALL if block.page.name == "README.md")
    names: dict[str, Any] = {}
    replacements = {"redis://localhost:6379": redis_server.url, '"shop"': repr(namespace)}
    exec(compiled(first, **replacements), names)
    with TestClient(names["app"], raise_server_exceptions=False) as client:
        assert [client.get("/price").status_code for _ in range(5)] == [500] * 5
        eventually_sync(lambda: client.get("/price").status_code == 503, what="the circuit open")
        assert int(client.get("/price").headers["retry-after"]) >= 1


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_links_lead_to_files_and_headings(page: Path) -> None:
    for link in re.findall(r"\]\(([^)\s]+)\)", page.read_text()):
        if re.match(r"https?://", link):
            continue
        file, _, anchor = link.partition("#")
        target = page.parent / file if file else page
        assert target.exists(), link
        if anchor and target.suffix == ".md":
            assert anchor in headings(target), link
