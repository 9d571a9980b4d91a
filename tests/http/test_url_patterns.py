"""Finding a URL's circuit: as a naive reading of the rules does."""

import re
import string
import threading
from collections.abc import Callable

import httpx
import httpx2
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from zenvark_web import (
    BreakerTransport,
    Coordinator,
    HttpHealthCheck,
    OtherUpstream,
    by_header,
    by_host,
)
from zenvark_web._http.circuit_names import MAX_CACHED_HOSTS, fitting_name
from zenvark_web._http.url_patterns import UrlPatterns

LABELS = st.sampled_from(["a", "b", "ab", "api", "x-1", "a1"])
HOSTS = st.lists(LABELS, min_size=1, max_size=4).map(".".join)
GLOBS = st.one_of(
    HOSTS,
    st.just("*"),
    HOSTS.map("*.{}".format),
    HOSTS.map("{}.*".format),
    HOSTS.map("*{}".format),
    st.builds("{}*{}".format, HOSTS, HOSTS),
    st.builds("{}*{}*{}".format, LABELS, LABELS, LABELS),
    st.just("**"),
    st.builds("*{}*".format, LABELS),
)
SCHEMES = st.sampled_from(["http", "https"])
PORTS = st.sampled_from(["", ":80", ":443", ":8000"])
SEGMENTS = st.lists(st.sampled_from(["v1", "v2", "v20", "x"]), max_size=3)
PATHS = st.one_of(
    st.just(""),
    SEGMENTS.map("/{}".format("/").join).map(lambda path: "/" + path),
    SEGMENTS.map(lambda segments: "/" + "".join(f"{segment}/" for segment in segments)),
)
PATTERNS = st.builds(
    "{}{}{}{}".format, st.one_of(st.just(""), SCHEMES.map("{}://".format)), GLOBS, PORTS, PATHS
)
URLS = st.builds("{}://{}{}{}".format, SCHEMES, HOSTS, PORTS, PATHS)


def naive(patterns: dict[str, str], url: httpx.URL) -> str | None:
    """What the documentation says, word for word."""
    found = [
        (rank, -number, name)
        for number, (pattern, name) in enumerate(patterns.items())
        if (rank := fit(pattern, url)) is not None
    ]
    return max(found)[2] if found else None


def fit(pattern: str, url: httpx.URL) -> tuple[int, int, bool, bool] | None:
    """How specific a pattern is, if it fits."""
    scheme, _, rest = pattern.rpartition("://") if "://" in pattern else ("", "", pattern)
    place, slash, path = rest.partition("/")
    path = slash + path
    host, _, port = place.partition(":")
    actual_port = url.port or {"http": 80, "https": 443}[url.scheme]
    actual_path = url.raw_path.decode().partition("?")[0]
    inside = (
        actual_path.startswith(path)
        if path.endswith("/") or not path
        else (actual_path == path or actual_path.startswith(path + "/"))
    )
    if (
        (scheme and scheme != url.scheme)
        or (port and int(port) != actual_port)
        or not re.fullmatch(re.escape(host).replace(r"\*", ".*"), url.host)
        or not inside
    ):
        return None
    return len(path), len(host.replace("*", "")), bool(port), bool(scheme)


@settings(max_examples=150)
@given(st.lists(PATTERNS, max_size=12, unique=True), st.lists(URLS, min_size=1, max_size=6))
def test_the_naive_reading_finds_the_same(patterns: list[str], urls: list[str]) -> None:
    mapping = {pattern: pattern for pattern in patterns}
    circuit_of = UrlPatterns(mapping, httpx.URL)
    for text in [*urls, *urls]:  # the second time from memory
        url = httpx.URL(text)
        assert circuit_of(url) == naive(mapping, url), text


def test_a_known_host_is_not_tried_with_every_pattern_again() -> None:
    patterns = {f"*.tenant{number}.example": f"t{number}" for number in range(300)}
    patterns |= {f"host{number}.example.com": f"h{number}" for number in range(300)}
    patterns |= {f"svc-{number}.*": f"s{number}" for number in range(300)}
    patterns |= {f"a{number}*z{number}.example": f"m{number}" for number in range(300)}
    patterns |= {f"api.example.com/v{number}/": f"v{number}" for number in range(300)}
    patterns |= {f"localhost:{number}": f"p{number}" for number in range(1, 300)}
    circuit_of = UrlPatterns(patterns, httpx.URL)
    circuits = {
        "https://www.tenant299.example/": "t299",
        "https://host299.example.com/": "h299",
        "https://svc-7.internal/": "s7",
        "https://a77-z77.example/": "m77",
        "https://api.example.com/v200/x": "v200",
        "http://localhost:298/": "p298",
        "https://nobody.knows/": None,
    }
    assert {url: circuit_of(httpx.URL(url)) for url in circuits} == circuits
    circuit_of._origins.clear()
    assert {url: circuit_of(httpx.URL(url)) for url in circuits} == circuits


def test_paths_of_strangers_are_not_read_further_than_patterns_go() -> None:
    circuit_of = UrlPatterns({"example.com/a/b": "deep", "example.com": "all"}, httpx.URL)
    url = httpx.URL("https://example.com/" + "x/" * 20_000)
    assert len(list(circuit_of._beginnings(url.raw_path))) <= 2 * 3 + 1
    assert circuit_of(url) == "all"
    assert circuit_of(httpx.URL("https://example.com/a/b/" + "x/" * 20_000)) == "deep"


def test_hosts_that_are_too_long_for_dns_are_not_remembered() -> None:
    circuit_of = UrlPatterns({"*": "all"}, httpx.URL)
    for number in range(10):
        assert circuit_of(httpx.URL(f"https://{'x' * 300}{number}/")) == "all"
    assert not circuit_of._by_host


def test_many_threads_may_ask_at_once() -> None:
    circuit_of = UrlPatterns({"*.example": "all"}, httpx.URL)
    urls = [httpx.URL(f"https://h{number}.example") for number in range(MAX_CACHED_HOSTS)]
    wrong: list[object] = []

    def ask(start: int) -> None:
        found = map(circuit_of, urls[start:] + urls[:start])
        wrong.extend(name for name in found if name != "all")

    threads = [threading.Thread(target=ask, args=(number * 900,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
    assert len(circuit_of._by_host) <= MAX_CACHED_HOSTS


def test_a_dot_at_the_end_is_the_same_host() -> None:
    request = httpx.Request("GET", "https://api.example.com.:8443/")
    assert by_host(request) == "api.example.com:8443"
    for pattern, url in [
        ("api.example.com.", "https://api.example.com/"),
        ("*.example.com", "https://api.example.com./"),
    ]:
        assert UrlPatterns({pattern: "a"}, httpx.URL)(httpx.URL(url)) == "a"


@given(st.text(max_size=400))
def test_names_are_short_printable_and_told_apart(text: str) -> None:
    name = fitting_name(text)
    assert len(name) <= 255
    assert name.isprintable()
    if name != text:
        assert fitting_name(text + "x") != name


@given(st.text(alphabet=string.printable, max_size=300))
def test_tenants_have_names_of_their_own(value: str) -> None:
    by_tenant = by_header("X-Tenant")
    headers = [(b"X-Tenant", value.encode())]
    request = httpx.Request("GET", "https://user:secret@api.example.com:8443", headers=headers)
    name = by_tenant(request)
    assert name is not None
    assert name.startswith("api.example.com:8443")
    assert name.isprintable()
    assert len(name) <= 255
    assert "secret" not in name


def test_no_header_is_the_circuit_of_the_host() -> None:
    assert (
        by_header("X-Tenant")(httpx.Request("GET", "https://api.example.com")) == "api.example.com"
    )


@given(URLS)
def test_both_libraries_give_the_same_names(url: str) -> None:
    mapping = {"*.a": "a", "https://*/v2": "v2", "api.*": "api"}
    assert UrlPatterns(mapping, httpx.URL)(httpx.URL(url)) == UrlPatterns(mapping, httpx2.URL)(
        httpx2.URL(url)
    )
    first, second = (by_host(library.Request("GET", url)) for library in (httpx, httpx2))
    assert first == second


@pytest.mark.parametrize(
    "make",
    [
        lambda: UrlPatterns({"https://user:secret@api.example.com/": "a"}, httpx.URL),
        lambda: UrlPatterns({"user:secret@api.example.com": "a"}, httpx.URL),
        lambda: OtherUpstream("https://user:secret@api.example.com"),
        lambda: HttpHealthCheck("ftp://user:secret@api.example.com"),
    ],
    ids=["pattern", "host", "upstream", "check"],
)
def test_no_message_tells_a_password(make: Callable[[], object]) -> None:
    with pytest.raises(ValueError, match=r"\[secure\]@api.example.com") as caught:
        make()
    assert "secret" not in str(caught.value)


def test_no_repr_tells_a_password() -> None:
    assert "secret" not in repr(HttpHealthCheck("https://user:secret@api.example.com/health"))
    with pytest.raises(ValueError, match="must not be empty") as caught:
        BreakerTransport(Coordinator(), circuits={"https://user:secret@example.com": ""})
    assert "secret" not in str(caught.value)
