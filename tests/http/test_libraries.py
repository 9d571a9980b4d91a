"""One implementation for two libraries, and for their asynchronous and synchronous clients."""

import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import httpx
import httpx2
import pytest

import zenvark_web
import zenvark_web.httpx
import zenvark_web.httpx2
from tests.http import server
from tests.http.circuits import counts
from tests.http.server import Upstream
from zenvark_web import Coordinator, HealthCheckError, HealthCheckType

ROOT = Path(zenvark_web.__file__).parent
TWINS = [(httpx, zenvark_web.httpx), (httpx2, zenvark_web.httpx2)]
URL = "https://api.example.com/"


@pytest.fixture(params=TWINS, ids=["httpx", "httpx2"])
def twin(request: pytest.FixtureRequest) -> tuple[Any, Any]:
    found: tuple[Any, Any] = request.param
    return found


def python(code: str) -> str:
    """What a fresh interpreter prints."""
    return subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        capture_output=True,
        check=True,
        text=True,
        timeout=60,
    ).stdout.strip()


def test_the_modules_are_the_same_but_for_the_name() -> None:
    first, second = ((ROOT / f"{name}.py").read_text() for name in ("httpx", "httpx2"))
    assert second.replace("httpx2", "httpx") == first


def test_names_are_those_of_their_library(twin: tuple[Any, Any]) -> None:
    library, ours = twin
    assert issubclass(ours.BreakerTransport, library.AsyncBaseTransport)
    assert issubclass(ours.BreakerTransport, library.BaseTransport)
    assert issubclass(ours.CircuitOpenError, library.TransportError)
    assert issubclass(ours.CircuitOpenError, zenvark_web.CircuitOpenError)
    assert not issubclass(ours.CircuitOpenError, library.NetworkError | library.TimeoutException)
    assert issubclass(ours.HttpHealthCheck, zenvark_web.httpx.UrlHealthCheck)


async def test_one_transport_serves_both_kinds_of_clients(
    twin: tuple[Any, Any], coordinator: Coordinator
) -> None:
    library, ours = twin
    inner = library.MockTransport(lambda _: library.Response(200, text="hello"))
    transport = ours.BreakerTransport(coordinator, inner)
    async with library.AsyncClient(transport=transport) as client:
        assert (await client.get(URL)).text == "hello"
    with library.Client(transport=transport) as client:
        assert client.get(URL).text == "hello"
    assert counts(coordinator.breaker("api.example.com")) == (2, 0)


@pytest.mark.parametrize("kind", ["AsyncHTTPTransport", "HTTPTransport", "MockTransport"])
def test_transport_of_the_other_library_is_refused(kind: str) -> None:
    for (other, _), (library, ours) in (TWINS, TWINS[::-1]):
        made = getattr(other, kind)
        inner = made(lambda _: None) if kind == "MockTransport" else made(verify=False)
        message = f"transport must be a transport of {library.__name__}.* belongs to another"
        with pytest.raises(TypeError, match=message):
            ours.BreakerTransport(Coordinator(), inner)
        with pytest.raises(TypeError, match="the transport of another upstream"):
            ours.BreakerTransport(
                Coordinator(), fallback=ours.OtherUpstream("https://other.example", inner)
            )


def test_other_library_is_known_by_its_classes_whatever_they_say(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """groq puts its own name on the classes of httpx that it exports."""
    monkeypatch.setattr(httpx.BaseTransport, "__module__", "groq")
    with pytest.raises(TypeError, match="belongs to another library"):
        zenvark_web.httpx2.BreakerTransport(
            Coordinator(),
            httpx.HTTPTransport(verify=False),  # type: ignore[arg-type]
        )


def test_breaker_transport_of_the_other_module_is_refused() -> None:
    other = zenvark_web.httpx2.BreakerTransport(Coordinator())
    with pytest.raises(TypeError, match="belongs to another library"):
        zenvark_web.httpx.BreakerTransport(Coordinator(), other)  # type: ignore[arg-type]


async def test_inner_transport_of_one_kind_says_so_to_the_other(twin: tuple[Any, Any]) -> None:
    library, ours = twin
    for_sync = ours.BreakerTransport(Coordinator(), library.HTTPTransport(verify=False))
    for_async = ours.BreakerTransport(Coordinator(), library.AsyncHTTPTransport(verify=False))
    message = rf"serves {library.__name__}\.Client only"
    with pytest.raises(RuntimeError, match=message):
        await library.AsyncClient(transport=for_sync).get(URL)
    with pytest.raises(RuntimeError, match=message):
        async with library.AsyncClient(transport=for_sync):
            pass
    message = rf"serves {library.__name__}\.AsyncClient only"
    with pytest.raises(RuntimeError, match=message):
        library.Client(transport=for_async).get(URL)
    with pytest.raises(RuntimeError, match=message), library.Client(transport=for_async):
        pass
    for_async.close()
    await for_async.aclose()
    await for_sync.aclose()
    for_sync.close()


async def test_default_transport_is_made_for_the_side_that_is_used(
    twin: tuple[Any, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    library, ours = twin
    made: list[str] = []

    def noted(name: str) -> Any:
        kind = getattr(library, name)

        def make() -> Any:
            made.append(name)
            return kind(verify=False)

        return make

    for name in ("AsyncHTTPTransport", "HTTPTransport"):
        monkeypatch.setattr(library, name, noted(name))
    transport = ours.BreakerTransport(Coordinator())
    await library.AsyncClient(transport=transport).aclose()
    library.Client(transport=transport).close()
    assert made == []
    async with library.AsyncClient(transport=transport):
        pass
    assert made == ["AsyncHTTPTransport"]
    for _ in range(2):
        with library.Client(transport=transport):
            pass
    assert made == ["AsyncHTTPTransport", "HTTPTransport"]


def test_default_transport_is_made_once_for_many_threads(twin: tuple[Any, Any]) -> None:
    _, ours = twin
    transport = ours.BreakerTransport(Coordinator())
    found: set[int] = set()
    start = threading.Barrier(8)

    def enter() -> None:
        start.wait()
        with transport:
            found.add(id(transport._wrapped.open_sync))

    threads = [threading.Thread(target=enter) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 1


def test_it_works_after_alias_httpx() -> None:
    code = """
import httpx2
httpx2.alias_httpx()
import httpx, zenvark_web, zenvark_web.httpx, zenvark_web.httpx2
assert httpx is httpx2
coordinator = zenvark_web.Coordinator()
inner = httpx2.MockTransport(lambda _: httpx2.Response(200, text="hello"))
for module in (zenvark_web, zenvark_web.httpx, zenvark_web.httpx2):
    transport = module.BreakerTransport(coordinator, inner)
    assert isinstance(transport, httpx2.BaseTransport)
    with httpx2.Client(transport=transport) as client:
        assert client.get("https://example.com").text == "hello"
assert issubclass(zenvark_web.httpx.CircuitOpenError, httpx2.TransportError)
print("fine")
"""
    assert python(code) == "fine"


@pytest.mark.parametrize("name", ["httpx", "httpx2"])
def test_missing_library_says_what_to_install(name: str) -> None:
    code = f"""
import sys
sys.modules["{name}"] = None
try:
    import zenvark_web.{name}
except ImportError as error:
    print(error)
"""
    told = python(code)
    assert f"zenvark_web.{name} needs {name}" in told
    assert told.endswith(f": pip install {name}")  # no index has `zenvark-web[httpx2]` yet


async def test_health_checks_are_those_of_their_library(
    twin: tuple[Any, Any], upstream: Upstream
) -> None:
    library, ours = twin
    check = ours.HttpHealthCheck(upstream.url)
    await check(HealthCheckType.RECOVERY)
    assert library.__name__ in upstream.requests[0].headers["user-agent"]
    upstream.answer = server.status(500)
    with pytest.raises(HealthCheckError, match="status 500"):
        await check(HealthCheckType.RECOVERY)
    with server.unused_port() as port, pytest.raises(library.ConnectError):
        await ours.HttpHealthCheck(f"http://{server.HOST}:{port}")(HealthCheckType.RECOVERY)
    with pytest.raises(ValueError, match="url must be one such as"):
        ours.HttpHealthCheck("nowhere")


async def test_sync_and_async_clients_share_circuits(
    twin: tuple[Any, Any], coordinator: Coordinator
) -> None:
    for library, ours in TWINS:
        inner = library.MockTransport(lambda _, library=library: library.Response(500))
        with library.Client(transport=ours.BreakerTransport(coordinator, inner)) as client:
            client.get(URL)
        async with library.AsyncClient(
            transport=ours.BreakerTransport(coordinator, inner)
        ) as client:
            await client.get(URL)
    assert counts(coordinator.breaker("api.example.com")) == (0, 4)
