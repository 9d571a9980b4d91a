"""The names that users import: complete, documented, and cheap until they are used."""

import importlib
import inspect
import pkgutil
import subprocess
import sys
from collections.abc import Iterator
from importlib.metadata import version

import httpx
import pytest

import zenvark_web
from zenvark_web import Backend, Window
from zenvark_web._core.windows import LookAhead, Savable
from zenvark_web.backends.views import StoreView

MODULES = [
    "zenvark_web.asgi",
    "zenvark_web.httpx",
    "zenvark_web.metrics",
    "zenvark_web.otel",
    "zenvark_web.backends",
    "zenvark_web.fastapi",
    "zenvark_web.httpx2",
    "zenvark_web.requests",
    "zenvark_web.aiohttp",
    "zenvark_web.wsgi",
    "zenvark_web.testing",
]
STANDARD = ["email", "importlib.metadata"]
HEAVY = ["fastapi", "httpx", "httpx2", "prometheus_client", "redis", "starlette", *STANDARD]


def python(code: str) -> str:
    """What a fresh interpreter prints."""
    return subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        capture_output=True,
        check=True,
        text=True,
        timeout=60,
    ).stdout.strip()


@pytest.mark.parametrize("name", zenvark_web.__all__)
def test_every_name_exists(name: str) -> None:
    assert getattr(zenvark_web, name) is not None


def test_names_are_sorted_and_told() -> None:
    assert zenvark_web.__all__ == sorted(zenvark_web.__all__)
    assert len(set(zenvark_web.__all__)) == len(zenvark_web.__all__)
    assert dir(zenvark_web) == zenvark_web.__all__


@pytest.mark.parametrize(
    "beside", ["starlette.routing", "starlette.responses", "fastapi", "httpx", "redis.asyncio"]
)
def test_no_name_hides_one_that_an_app_imports_beside_it(beside: str) -> None:
    module = importlib.import_module(beside)
    theirs = {
        name
        for name, value in vars(module).items()
        if inspect.isclass(value) and value.__module__.startswith(beside.partition(".")[0])
    }
    assert theirs
    assert not (theirs - {"State"}) & set(zenvark_web.__all__)  # hardly imported from there


def test_route_is_still_found_by_its_old_name() -> None:
    with pytest.warns(DeprecationWarning, match="CircuitRoute"):
        assert zenvark_web.Route is zenvark_web.CircuitRoute


def test_star_import_gives_them_all() -> None:
    assert python(
        "from zenvark_web import *; import zenvark_web\n"
        "print(set(zenvark_web.__all__) - set(globals()))"
    ) == str(set())


def test_unknown_name_is_an_attribute_error_that_tells_it() -> None:
    with pytest.raises(AttributeError, match="'zenvark_web' has no attribute 'Breakr'"):
        _ = zenvark_web.Breakr
    with pytest.raises(ImportError, match="Breakr"):
        from zenvark_web import Breakr  # noqa: F401


def loaded_by(code: str) -> list[str]:
    """Which of the heavy modules a piece of code imports, in a fresh interpreter."""
    shown = python(
        f"import sys; before = set(sys.modules); {code}\n"
        f"print(*[name for name in {HEAVY} if name in sys.modules.keys() - before])"
    )
    return shown.split()


@pytest.mark.parametrize(
    ("code", "libraries"),
    [
        ("import zenvark_web", []),
        ("import zenvark_web; zenvark_web.Coordinator(namespace='shop')", []),
        ("import zenvark_web; zenvark_web.Coordinator('redis://localhost')", ["redis"]),
        ("from zenvark_web.backends import RedisBackend", ["redis"]),
        ("import zenvark_web.httpx", ["httpx"]),
        ("import zenvark_web.httpx2", ["httpx2"]),
        ("import zenvark_web.asgi", ["starlette"]),
        ("from zenvark_web import BreakerTransport", ["httpx"]),
        ("from zenvark_web import HttpHealthCheck", ["httpx"]),
        ("from zenvark_web import by_host", ["httpx"]),
        ("from zenvark_web import BreakerMiddleware", ["starlette"]),
        ("from zenvark_web import PrometheusMetrics", ["prometheus_client"]),
    ],
)
def test_import_loads_only_the_library_it_needs(code: str, libraries: list[str]) -> None:
    assert [name for name in loaded_by(code) if name not in STANDARD or not libraries] == libraries


def test_import_loads_nothing_else_of_the_package() -> None:
    shown = python(
        "import sys, zenvark_web\n"
        "print(sorted(name for name in sys.modules if name.startswith('zenvark_web')))"
    )
    assert shown == "['zenvark_web', 'zenvark_web._version']"


def test_a_policy_needs_no_event_loop() -> None:
    code = "import sys; from zenvark_web import BreakerPolicy; print('asyncio' in sys.modules)"
    assert python(code) == "False"


def test_modules_are_attributes_without_an_import_of_their_own() -> None:
    shown = python("import zenvark_web; print(zenvark_web.exceptions.ZenvarkError.__name__)")
    assert shown == "ZenvarkError"


def test_lazy_names_are_the_very_ones_of_their_modules() -> None:
    of_each_library = {"BodySentError", "CircuitOpenError"}  # the root has what they derive from
    for module in map(importlib.import_module, MODULES[:3]):
        for name in set(module.__all__) & set(zenvark_web.__all__) - of_each_library:
            assert getattr(zenvark_web, name) is getattr(module, name)


def test_version_is_that_of_the_distribution() -> None:
    assert zenvark_web.__version__ == version("zenvark-web")


@pytest.mark.parametrize("name", MODULES)
def test_modules_name_what_is_public(name: str) -> None:
    module = importlib.import_module(name)
    assert module.__all__ == sorted(module.__all__)
    for public in module.__all__:
        assert getattr(module, public) is not None


def public() -> Iterator[tuple[str, object]]:
    """Every class and function of the package that has a public name, and their members."""
    for info in pkgutil.walk_packages(zenvark_web.__path__, "zenvark_web."):
        if info.name.endswith("__main__"):
            continue
        for name, value in vars(importlib.import_module(info.name)).items():
            if name.startswith("_") or getattr(value, "__module__", None) != info.name:
                continue
            if inspect.isclass(value) or inspect.isfunction(value):
                yield f"{info.name}.{name}", value
            if inspect.isclass(value):
                yield from members(f"{info.name}.{name}", value)


PROMISES = (Backend, StoreView, LookAhead, Savable, Window, httpx.AsyncBaseTransport)


def members(owner: str, cls: type) -> Iterator[tuple[str, object]]:
    promises = {} if cls in PROMISES else {name for kind in PROMISES for name in vars(kind)}
    for name, value in vars(cls).items():
        if name.startswith("_") or name in promises:  # what it does is told where it is promised
            continue
        if inspect.isfunction(value) or isinstance(value, property):
            yield f"{owner}.{name}", value


def test_everything_public_has_a_docstring() -> None:
    bare = [name for name, value in public() if not (inspect.getdoc(value) or "").strip()]
    assert bare == []


def test_the_search_for_docstrings_finds_what_it_should() -> None:
    found = {name for name, _ in public()}
    assert {
        "zenvark_web.breaker.Breaker.state",
        "zenvark_web.coordinator.Coordinator.start",
        "zenvark_web.backends.base.Backend.publish",
        "zenvark_web._http.circuit_names.by_host",
    } <= found
