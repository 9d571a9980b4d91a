"""Which circuit a request belongs to."""

from collections.abc import Callable, Mapping
from typing import Any

import httpx
import pytest

from tests.helpers.waiting import PATIENCE, eventually
from tests.http.circuits import counts
from tests.http.stub import Stub
from zenvark_web import BreakerTransport, CircuitRoute, Coordinator, RoutingError, by_host
from zenvark_web._http.circuit_names import MAX_CACHED_HOSTS
from zenvark_web._http.url_patterns import UrlPatterns

URL = "https://api.example.com/charges"


async def circuit_of(url: str, coordinator: Coordinator, circuits: Any, **extensions: Any) -> Any:
    """The name of the circuit that a request counted for, or None."""
    inner = Stub()
    transport = BreakerTransport(coordinator, inner, circuits=circuits)
    async with httpx.AsyncClient(transport=transport) as client:
        await client.get(url, extensions=extensions)
    assert len(inner.requests) == 1
    names = [name for name, breaker in coordinator.breakers.items() if counts(breaker) == (1, 0)]
    assert len(names) <= 1
    return names[0] if names else None


@pytest.mark.parametrize(
    ("url", "name"),
    [
        ("https://api.example.com/charges?x=1#y", "api.example.com"),
        ("http://api.example.com", "api.example.com"),
        ("https://api.example.com:443/", "api.example.com"),
        ("http://api.example.com:80/", "api.example.com"),
        ("https://api.example.com:8443/", "api.example.com:8443"),
        ("http://api.example.com:443/", "api.example.com:443"),
        ("HTTPS://API.Example.COM/", "api.example.com"),
        ("https://user:secret@api.example.com/", "api.example.com"),
        ("https://user:secret@api.example.com:8443/", "api.example.com:8443"),
        ("https://bücher.example/", "xn--bcher-kva.example"),
        ("https://BÜCHER.example:8443/", "xn--bcher-kva.example:8443"),
        ("https://straße.example/", "xn--strae-oqa.example"),
        ("https://xn--bcher-kva.example/", "xn--bcher-kva.example"),
        ("http://127.0.0.1:8000/", "127.0.0.1:8000"),
        ("http://[::1]/", "[::1]"),
        ("http://[::1]:8000/", "[::1]:8000"),
        ("http://[2001:DB8::1]/", "[2001:db8::1]"),
    ],
)
def test_by_host_is_the_host_and_an_unusual_port(url: str, name: str) -> None:
    assert by_host(httpx.Request("GET", url)) == name


async def test_by_host_is_the_default(coordinator: Coordinator) -> None:
    async with httpx.AsyncClient(transport=BreakerTransport(coordinator, Stub())) as client:
        await client.get("https://user:secret@api.example.com:8443/")
    assert set(coordinator.breakers) == {"api.example.com:8443"}


async def test_no_host_is_no_circuit(coordinator: Coordinator, errors: list[Exception]) -> None:
    request = httpx.Request("GET", "/path")
    assert by_host(request) is None
    await BreakerTransport(coordinator, Stub()).handle_async_request(request)
    assert not coordinator.breakers
    assert not errors


async def test_very_long_hosts_have_names_of_bounded_length(
    coordinator: Coordinator, errors: list[Exception]
) -> None:
    long = "x" * 300
    urls = [f"https://{long}{tail}.example" for tail in ("a", "b")]
    first, second = (by_host(httpx.Request("GET", url)) for url in urls)
    assert first is not None
    assert second is not None
    assert first != second
    assert max(len(first), len(second)) <= 255
    assert first.startswith("x" * 200)
    assert await circuit_of(urls[0], coordinator, by_host) == first
    assert not errors


FLEET = {
    "*": "anything",
    "*.example.com": "example",
    "api.example.com": "api",
    "https://api.example.com": "api-tls",
    "api.example.com:8443": "api-8443",
    "https://api.example.com/v2/": "api-v2",
    "https://api.example.com/v2/charges": "api-charges",
    "*/v2/": "any-v2",
}


@pytest.mark.parametrize(
    ("patterns", "url", "name"),
    [
        # Hosts and globs.
        ({"api.example.com": "a"}, "https://api.example.com/x", "a"),
        ({"api.example.com": "a"}, "http://api.example.com:8000/x", "a"),
        ({"api.example.com": "a"}, "https://API.example.com/x", "a"),
        ({"API.example.com": "a"}, "https://api.example.com/x", "a"),
        ({"api.example.com": "a"}, "https://www.example.com/x", None),
        ({"api.example.com": "a"}, "https://api.example.com.evil.example/", None),
        ({"api.example.com": "a"}, "https://evil.example/api.example.com", None),
        ({"api.example.com": "a"}, "https://apiXexample.com/", None),
        ({"example.com": "a"}, "https://api.example.com/", None),
        ({"*.example.com": "a"}, "https://api.example.com/", "a"),
        ({"*.example.com": "a"}, "https://eu.api.example.com/", "a"),
        ({"*.example.com": "a"}, "https://example.com/", None),
        ({"api-*.example.com": "a"}, "https://api-eu.example.com/", "a"),
        ({"api.*": "a"}, "https://api.example.org/", "a"),
        ({"api*pi": "a"}, "https://api/", None),
        ({"api*pi": "a"}, "https://apipi/", "a"),
        ({"*": "a"}, "http://anything.example:9999/", "a"),
        ({"user.example.com": "a"}, "https://user:secret@user.example.com/", "a"),
        # Names that are not ASCII.
        ({"bücher.example": "a"}, "https://bücher.example/", "a"),
        ({"BÜCHER.example": "a"}, "https://bücher.example/", "a"),
        ({"xn--bcher-kva.example": "a"}, "https://bücher.example/", "a"),
        ({"straße.example": "a"}, "https://straße.example/", "a"),
        ({"*.bücher.example": "a"}, "https://www.bücher.example/", "a"),
        ({"https://bücher.example/ü/": "a"}, "https://bücher.example/ü/1", "a"),
        # Addresses.
        ({"127.0.0.1": "a"}, "http://127.0.0.1:8000/", "a"),
        ({"10.0.*": "a"}, "http://10.0.3.4/", "a"),
        ({"[::1]": "a"}, "http://[::1]:8000/", "a"),
        ({"[::1]:8000": "a"}, "http://[::1]:8000/", "a"),
        ({"[::1]:8000": "a"}, "http://[::1]:8001/", None),
        ({"[2001:DB8::*]": "a"}, "http://[2001:db8::7]/", "a"),
        # Schemes and ports.
        ({"https://api.example.com": "a"}, "https://api.example.com/", "a"),
        ({"HTTPS://api.example.com": "a"}, "https://api.example.com/", "a"),
        ({"https://api.example.com": "a"}, "https://api.example.com:8443/", "a"),
        ({"https://api.example.com": "a"}, "http://api.example.com/", None),
        ({"https://*": "a"}, "https://api.example.com/", "a"),
        ({"https://*": "a"}, "http://api.example.com/", None),
        ({"api.example.com:443": "a"}, "https://api.example.com/", "a"),
        ({"api.example.com:443": "a"}, "http://api.example.com/", None),
        ({"api.example.com:443": "a"}, "http://api.example.com:443/", "a"),
        ({"api.example.com:80": "a"}, "http://api.example.com/", "a"),
        ({"api.example.com:8443": "a"}, "https://api.example.com:8443/", "a"),
        ({"api.example.com:8443": "a"}, "https://api.example.com/", None),
        ({"*:8443": "a"}, "https://api.example.com:8443/", "a"),
        # Beginnings of paths.
        ({"api.example.com/v2/": "a"}, "https://api.example.com/v2/charges", "a"),
        ({"api.example.com/v2/": "a"}, "https://api.example.com/v2", None),
        ({"api.example.com/v2/": "a"}, "https://api.example.com/v1/", None),
        ({"api.example.com/v2": "a"}, "https://api.example.com/v2", "a"),
        ({"api.example.com/v2": "a"}, "https://api.example.com/v2?x=1", "a"),
        ({"api.example.com/v2": "a"}, "https://api.example.com/v2/charges", "a"),
        ({"api.example.com/v2": "a"}, "https://api.example.com/v20", None),
        ({"api.example.com/": "a"}, "https://api.example.com", "a"),
        ({"api.example.com/V2/": "a"}, "https://api.example.com/v2/", None),
        ({"api.example.com/V2/": "a"}, "https://api.example.com/V2/", "a"),
        ({"api.example.com/a b/": "a"}, "https://api.example.com/a b/c", "a"),
        ({"api.example.com/a%20b/": "a"}, "https://api.example.com/a b/c", "a"),
        ({"example.com/to/http://": "a"}, "https://example.com/to/http://x", "a"),
        # The most specific one.
        (FLEET, "https://www.example.org/", "anything"),
        (FLEET, "https://www.example.com/", "example"),
        (FLEET, "http://api.example.com/", "api"),
        (FLEET, "https://api.example.com/", "api-tls"),
        (FLEET, "http://api.example.com:8443/", "api-8443"),
        (FLEET, "https://api.example.com/v2/refunds", "api-v2"),
        (FLEET, "https://api.example.com/v2/charges/7", "api-charges"),
        (FLEET, "http://api.example.com/v2/refunds", "any-v2"),
        (dict(reversed(FLEET.items())), "https://api.example.com/v2/refunds", "api-v2"),
        (dict(reversed(FLEET.items())), "https://api.example.com/", "api-tls"),
        ({}, "https://api.example.com/", None),
    ],
)
async def test_patterns(
    coordinator: Coordinator, patterns: Mapping[str, str], url: str, name: str | None
) -> None:
    assert await circuit_of(url, coordinator, patterns) == name


async def test_several_patterns_may_name_one_circuit(coordinator: Coordinator) -> None:
    patterns = {"*.example.com": "shop", "*.example.org": "shop"}
    transport = BreakerTransport(coordinator, Stub(), circuits=patterns)
    async with httpx.AsyncClient(transport=transport) as client:
        await client.get("https://a.example.com")
        await client.get("https://b.example.org")
        await client.get("https://c.example.net")
    assert {name: counts(breaker) for name, breaker in coordinator.breakers.items()} == {
        "shop": (2, 0)
    }


def test_many_hosts_are_told_apart_but_not_all_remembered() -> None:
    circuit_of = UrlPatterns({"a*.example": "a", "b*.example": "b"}, httpx.URL)
    for number in range(MAX_CACHED_HOSTS):
        assert circuit_of(httpx.URL(f"https://a{number}.example")) == "a"
        assert circuit_of(httpx.URL(f"https://b{number}.example")) == "b"
        assert circuit_of(httpx.URL(f"https://c{number}.example")) is None
    assert len(circuit_of._by_host) == MAX_CACHED_HOSTS


async def test_later_changes_of_the_mapping_change_nothing(coordinator: Coordinator) -> None:
    patterns = {"api.example.com": "api"}
    transport = BreakerTransport(coordinator, Stub(), circuits=patterns)
    patterns.clear()
    await transport.handle_async_request(httpx.Request("GET", URL))
    assert set(coordinator.breakers) == {"api"}


@pytest.mark.parametrize(
    "pattern",
    [
        "",
        "/v2/",
        "https://",
        "https:///v2/",
        "://api.example.com",
        "user@api.example.com",
        "https://user:secret@api.example.com/",
        "api.example.com:",
        "api.example.com:https",
        "api.example.com:99999",
        "api.example.com:0",
        "[::1",
        "::1",
        "api example.com",
        "api.example.com?x=1",
        "api.example.com/v2?x=1",
        "api.example.com#x",
        "https:api.example.com",
        "ht tp://api.example.com",
        "api.example.com\n",
        "a" * 300,
    ],
)
def test_bad_patterns_are_refused(pattern: str) -> None:
    with pytest.raises(ValueError, match="circuits"):
        BreakerTransport(Coordinator(), circuits={pattern: "name"})


@pytest.mark.parametrize(
    ("patterns", "error"),
    [
        ({"api.example.com": ""}, ValueError),
        ({"api.example.com": "n" * 300}, ValueError),
        ({"api.example.com": "two\nlines"}, ValueError),
        ({"api.example.com": None}, TypeError),
        ({7: "name"}, TypeError),
    ],
)
def test_bad_names_are_refused(patterns: Any, error: type[Exception]) -> None:
    with pytest.raises(error, match="circuits"):
        BreakerTransport(Coordinator(), circuits=patterns)


async def test_function_tells_the_circuit(coordinator: Coordinator) -> None:
    def by_tenant(request: httpx.Request) -> str | None:
        return request.headers.get("x-tenant")

    transport = BreakerTransport(coordinator, Stub(), circuits=by_tenant)
    async with httpx.AsyncClient(transport=transport) as client:
        await client.get(URL, headers={"X-Tenant": "acme"})
        await client.get(URL)
    assert {name: counts(breaker) for name, breaker in coordinator.breakers.items()} == {
        "acme": (1, 0)
    }


def fails(request: httpx.Request) -> str | None:
    raise KeyError(request.method)


@pytest.mark.parametrize(
    ("circuits", "message"),
    [
        (fails, "KeyError: 'GET'"),
        (lambda _: 7, "must be a string, not 7"),
        (lambda _: "", "must not be empty"),
        (lambda _: "n" * 300, "at most 255 characters"),
    ],
)
async def test_request_goes_out_though_its_circuit_cannot_be_told(
    coordinator: Coordinator,
    errors: list[Exception],
    circuits: Callable[[httpx.Request], Any],
    message: str,
) -> None:
    assert await circuit_of(URL, coordinator, circuits) is None
    [error] = await eventually(lambda: errors, within=PATIENCE)
    assert isinstance(error, RoutingError)
    assert message in str(error)
    assert "the circuit of GET https://api.example.com/" in str(error)
    assert isinstance(error.__cause__, Exception)


@pytest.mark.parametrize(
    ("named", "name"),
    [
        ("named", "named"),
        (None, None),
        (False, None),
        (CircuitRoute("named"), "named"),
        ({"name": "named"}, "named"),
        ({"name": None}, None),
        ({"name": False}, None),
        ({}, "api.example.com"),
        ({"when_open": "raise"}, "api.example.com"),
    ],
)
async def test_one_request_may_say_otherwise(
    coordinator: Coordinator, named: Any, name: str | None
) -> None:
    assert await circuit_of(URL, coordinator, by_host, breaker=named) == name
    assert not coordinator.statistics.errors


@pytest.mark.parametrize("odd", [7, "", True, "two\nlines", ["named"], {"name": 7}])
async def test_odd_word_of_one_request_surfaces(
    coordinator: Coordinator, errors: list[Exception], odd: Any
) -> None:
    assert await circuit_of(URL, coordinator, by_host, breaker=odd) is None
    assert await eventually(lambda: errors, within=PATIENCE)


async def test_the_word_of_one_request_goes_before_the_mapping(coordinator: Coordinator) -> None:
    assert await circuit_of(URL, coordinator, {}, breaker="named") == "named"
