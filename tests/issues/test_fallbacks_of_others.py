"""A stand-in is for the one who asks: the last good response to one tenant was given to another,
and another upstream was asked for the first one's certificate."""

from collections.abc import Iterator
from typing import Any

import pytest

from tests.http.clients import KINDS, Kind
from tests.http.either import over, use
from zenvark_web import Coordinator, LastGoodResponse, OtherUpstream
from zenvark_web.testing import Fleet

NAME = "api.example.com"
URL = f"https://{NAME}/me"
TELLING = [
    "Authorization",
    "Proxy-Authorization",
    "Cookie",
    "X-Api-Key",
    "x-api-key",
    "Api-Key",
    "ApiKey",
    "Xi-Api-Key",
    "X-Auth-Token",
    "X-Amz-Security-Token",
    "X-Goog-Api-Key",
    "Ocp-Apim-Subscription-Key",
    "X-RapidAPI-Key",
    "Private-Token",
    "X-Company-Token",
    "X-Session-Id",
    "X-Tenant",
    "X-Tenant-Id",
    "X-User-Id",
    "X-Forwarded-User",
    "OpenAI-Organization",
    "X-Customer-Id",
    "DPoP",
    "From",
    "Remote-User",
    "Sudo",
    "X-Amzn-Oidc-Data",
    "X-Company",
    "X-Consumer-Username",
    "X-Device-Id",
    "X-Email",
    "X-Forwarded-Client-Cert",
    "X-Forwarded-Email",
    "X-Forwarded-Groups",
    "X-Forwarded-Preferred-Username",
    "X-Goog-User-Project",
    "X-Identity",
    "X-Impersonate",
    "X-Key",
    "X-License-Key",
    "X-Merchant",
    "X-Ms-Client-Principal",
    "X-On-Behalf-Of",
    "X-Org",
    "X-Principal",
    "X-Project-Id",
    "X-Roles",
    "X-Scope-OrgID",
    "X-Shop-Id",
    "X-Ssl-Client-S-DN",
    "X-Store",
    "X-Subject",
    "X-Team",
    "X-Userinfo",
]
HARMLESS = [
    "User-Agent",
    "Accept",
    "Accept-Language",
    "X-Request-Id",
    "Traceparent",
    "If-None-Match",
    "Accept-Encoding",
    "Forwarded",
    "If-Modified-Since",
    "Origin",
    "Referer",
    "Sec-Fetch-Mode",
    "Tracestate",
    "X-Amzn-Trace-Id",
    "X-B3-SpanId",
    "X-Correlation-Id",
    "X-Datadog-Parent-Id",
    "X-Forwarded-For",
    "X-Forwarded-Proto",
    "X-Ms-Client-Request-Id",
    "X-Original-User-Agent",
    "X-Requested-With",
    "X-Stainless-Runtime-Version",
]


@pytest.fixture
def fleet() -> Iterator[Fleet]:
    with Fleet() as running:
        yield running


@pytest.fixture
def coordinator(fleet: Fleet) -> Coordinator:
    return fleet.coordinator()


def mirror(kind: Kind, **headers: str) -> Any:
    """Answers with what was sent."""

    def answer(request: Any) -> Any:
        sent = [f"{name}={value}" for name, value in sorted(request.headers.items())]
        return kind.library.Response(200, text="\n".join(sent), headers=headers)

    return kind.library.MockTransport(answer)


class Tenants:
    """Clients of one upstream that goes away.

    Args:
        fallback: What stands in for it.
        settings: Of the transport.
    """

    def __init__(
        self, fleet: Fleet, kind: Kind, fallback: LastGoodResponse, **settings: Any
    ) -> None:
        self.fleet, self.kind = fleet, kind
        self.headers: dict[str, str] = settings.pop("headers", {})
        self.coordinator = fleet.coordinator()
        self.transport = kind.guarded(
            self.coordinator, mirror(kind, **self.headers), fallback=fallback, **settings
        )

    def get(self, headers: dict[str, str] | None = None, url: str = URL) -> Any:
        async def work(client: Any) -> Any:
            return await over(client.get(url, headers=headers))

        return use(self.kind, self.transport, work)

    def fail(self, *names: str) -> None:
        for name in names or (NAME,):
            self.fleet.trip(name)


@pytest.mark.parametrize("name", TELLING)
def test_nothing_is_kept_for_those_who_tell_who_they_are(fleet: Fleet, name: str) -> None:
    tenants = Tenants(fleet, KINDS[0], LastGoodResponse())
    tenants.get({name: "one"})
    tenants.fail()
    for headers in ({name: "one"}, {name: "two"}, {}):
        assert tenants.get(headers).status_code == 503


@pytest.mark.parametrize("kind", KINDS, ids=str)
@pytest.mark.parametrize("name", ["X-Api-Key", "Authorization", "Xi-Api-Key"])
def test_each_has_its_own_if_asked_for(fleet: Fleet, kind: Kind, name: str) -> None:
    tenants = Tenants(fleet, kind, LastGoodResponse(per_credential=True))
    for tenant in ("one", "two"):
        tenants.get({name: tenant})
    tenants.get()
    tenants.fail()
    for tenant in ("one", "two"):
        assert f"={tenant}" in tenants.get({name: tenant}).text
    assert tenants.get({name: "three"}).status_code == 503
    assert name.lower() not in tenants.get().text


def test_names_of_ones_own_are_added(fleet: Fleet) -> None:
    tenants = Tenants(fleet, KINDS[0], LastGoodResponse(credential_headers=["X-Region"]))
    tenants.get({"X-Region": "one"})
    tenants.get({"X-Api-Key": "one"})
    tenants.fail()
    assert tenants.get({"X-Region": "two"}).status_code == 503
    assert tenants.get({"X-Api-Key": "one"}).status_code == 503


@pytest.mark.parametrize("name", HARMLESS)
def test_other_fields_keep_nobody_from_it(fleet: Fleet, name: str) -> None:
    tenants = Tenants(fleet, KINDS[0], LastGoodResponse())
    tenants.get({name: "one"})
    tenants.fail()
    assert tenants.get({name: "two"}).status_code == 200


def test_private_responses_are_kept_for_their_own(fleet: Fleet) -> None:
    headers = {"Cache-Control": "private"}
    tenants = Tenants(fleet, KINDS[0], LastGoodResponse(per_credential=True), headers=headers)
    tenants.get({"X-Api-Key": "one"})
    tenants.get()
    tenants.fail()
    assert tenants.get({"X-Api-Key": "one"}).status_code == 200
    assert tenants.get().status_code == 503


def test_variants_are_kept_beside_each_other(fleet: Fleet) -> None:
    tenants = Tenants(fleet, KINDS[0], LastGoodResponse(), headers={"Vary": "Accept, X-Region"})
    for region in ("one", "two"):
        tenants.get({"X-Region": region})
    tenants.fail()
    for region in ("one", "two"):
        assert f"x-region={region}" in tenants.get({"X-Region": region}).text
    assert tenants.get({"X-Region": "three"}).status_code == 503
    assert tenants.get().status_code == 503


def test_circuits_are_kept_apart(fleet: Fleet) -> None:
    """Whatever tells them apart, such as a header."""
    tenants = Tenants(
        fleet, KINDS[0], LastGoodResponse(), circuits=lambda request: request.headers["x-region"]
    )
    tenants.get({"X-Region": "one"})
    tenants.fail("one", "two")
    assert tenants.get({"X-Region": "one"}).status_code == 200
    assert tenants.get({"X-Region": "two"}).status_code == 503


def test_secrets_are_not_kept(fleet: Fleet) -> None:
    fallback = LastGoodResponse(per_credential=True)
    tenants = Tenants(fleet, KINDS[0], fallback)
    tenants.transport = KINDS[0].guarded(
        tenants.coordinator,
        KINDS[0].library.MockTransport(lambda _: KINDS[0].library.Response(200)),
        fallback=fallback,
    )
    tenants.get({"X-Api-Key": "very-secret"})
    assert "very-secret" not in repr(vars(fallback))


@pytest.mark.parametrize(
    ("settings", "error"),
    [
        ({"credential_headers": "X-Api-Key"}, TypeError),
        ({"credential_headers": [7]}, TypeError),
        ({"credential_headers": ["X Api Key"]}, ValueError),
        ({"per_credential": "yes"}, TypeError),
    ],
)
def test_bad_settings_are_refused(settings: Any, error: type[Exception]) -> None:
    with pytest.raises(error, match=next(iter(settings))):
        LastGoodResponse(**settings)


OTHER = "https://eu.example.com"


@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_what_holds_for_the_first_host_stays_behind(
    fleet: Fleet, coordinator: Coordinator, kind: Kind
) -> None:
    seen: dict[str, Any] = {}

    def answer(request: Any) -> Any:
        seen.update(request.extensions, host=request.headers["host"])
        return kind.library.Response(200)

    fleet.trip(NAME)
    inner = kind.library.MockTransport(answer)
    transport = kind.guarded(coordinator, inner, fallback=OtherUpstream(OTHER))
    extensions = {"sni_hostname": "us.example.com", "target": b"/raw", "mine": 7}

    async def work(client: Any) -> Any:
        headers = {"Host": "us.example.com"}
        return await over(client.get(URL, headers=headers, extensions=extensions))

    assert use(kind, transport, work).status_code == 200
    assert not seen.keys() & {"sni_hostname", "target"}
    assert seen["mine"] == 7
    assert seen["timeout"]
    assert seen["host"] == "eu.example.com"


@pytest.mark.parametrize("kind", KINDS, ids=str)
@pytest.mark.parametrize("who", ["request", "route", "routed request"])
@pytest.mark.parametrize("ways", [("respond", "raise"), ("raise", "respond")])
def test_what_the_caller_wants_of_an_open_circuit_goes_along(
    fleet: Fleet, coordinator: Coordinator, kind: Kind, who: str, ways: tuple[str, str]
) -> None:
    usual, wanted = ways
    for name in (NAME, "eu.example.com"):
        fleet.trip(name)
    own = kind.ours.CircuitRoute(NAME, when_open=wanted)
    transport = kind.guarded(
        coordinator,
        mirror(kind),
        fallback=OtherUpstream(OTHER),
        when_open=usual,
        circuits={"eu.example.com": "eu.example.com", "*": own if who == "route" else NAME},
    )
    told = {"request": {"when_open": wanted}, "routed request": own}.get(who)

    async def work(client: Any) -> Any:
        extensions = {} if told is None else {"breaker": told}
        return await over(client.get(URL, extensions=extensions))

    if wanted == "raise":
        with pytest.raises(kind.ours.CircuitOpenError) as caught:
            use(kind, transport, work)
        assert caught.value.name == "eu.example.com"
    else:
        response = use(kind, transport, work)
        assert response.extensions["breaker"].name == "eu.example.com"


@pytest.mark.parametrize("kind", KINDS, ids=str)
@pytest.mark.parametrize("how", ["close", "block"])
def test_a_transport_that_many_share_is_closed_once(
    coordinator: Coordinator, kind: Kind, how: str
) -> None:
    closed: list[str] = []

    class Shared(kind.library.MockTransport):  # type: ignore[misc, name-defined]
        def __init__(self, name: str) -> None:
            super().__init__(lambda _: kind.library.Response(200))
            self.name = name

        async def aclose(self) -> None:
            closed.append(self.name)

        def close(self) -> None:
            closed.append(self.name)

    shared, inner = Shared("shared"), Shared("inner")
    others = {
        name: OtherUpstream(f"https://{name}.example.com", transport)
        for name, transport in [("a", shared), ("b", shared), ("c", shared), ("d", inner)]
    }
    routes = {"x": kind.ours.CircuitRoute("x", fallback=OtherUpstream(OTHER, shared)), "*": "y"}
    transport = kind.guarded(coordinator, inner, fallback=others, circuits=routes)

    async def block() -> None:
        async with transport:
            pass

    if how == "block" and kind.sync:
        with transport:
            pass
    elif how == "block":
        kind.run(block)
    elif kind.sync:
        transport.close()
    else:
        kind.run(transport.aclose)
    assert sorted(closed) == ["inner", "shared"]


@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_all_are_closed_though_one_cannot_be(coordinator: Coordinator, kind: Kind) -> None:
    closed: list[str] = []

    class Stubborn(kind.library.MockTransport):  # type: ignore[misc, name-defined]
        async def aclose(self) -> None:
            closed.append("x")
            raise OSError

        def close(self) -> None:
            closed.append("x")
            raise OSError

    def make() -> Any:
        return Stubborn(lambda _: kind.library.Response(200))

    others = {name: OtherUpstream(f"https://{name}.example.com", make()) for name in "ab"}
    transport = kind.guarded(coordinator, make(), fallback=others)
    with pytest.raises(OSError):  # noqa: PT011
        transport.close() if kind.sync else kind.run(transport.aclose)
    assert len(closed) == 3
