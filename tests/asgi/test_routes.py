"""Which protection a path has."""

from collections.abc import Callable
from typing import Any

import pytest

from tests.asgi.messages import Script
from zenvark_web import Coordinator, ProtectedRoute, RoutingError
from zenvark_web.asgi import BreakerMiddleware
from zenvark_web.asgi._routes import RoutePatterns, finder

ROUTES = {
    "/": "rest",
    "/healthz": None,
    "/users": "users",
    "/users/*/cart": "cart",
    "/users/me": "me",
    "/users/me/cart": "my-cart",
    "/users/*": "user",
    "/v*/orders/": "orders",
    "/files/*.txt": "texts",
    "/files/a*.txt": "a-texts",
    "/a.b": "dot",
    "/grüße/ö": "umlauts",
}


def circuit(find: Callable[..., ProtectedRoute | None], path: str, root: str = "") -> str | None:
    route = find(Script(path=path, root_path=root).scope())
    return route and route.circuit


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/", "rest"),
        ("", "rest"),
        ("/other/path", "rest"),
        ("/healthz", None),
        ("/healthz/live", None),
        ("/healthzzz", "rest"),
        ("/users", "users"),
        ("/users/", "user"),
        ("/users-old", "rest"),
        ("/users/7", "user"),
        ("/users/7/orders/8", "user"),
        ("/users/7/cart", "cart"),
        ("/users/7/cart/", "cart"),
        ("/users/7/cart/3", "cart"),
        ("/users/7/carts", "user"),
        ("/users/me", "me"),
        ("/users/me/cart", "my-cart"),
        ("/users/me/carts", "me"),
        ("/v1/orders", "orders"),
        ("/v1/orders/5", "orders"),
        ("/v/orders", "orders"),
        ("/v1/x/orders", "rest"),
        ("/files/a.txt", "a-texts"),
        ("/files/b.txt", "texts"),
        ("/files/b/c.txt", "rest"),
        ("/files/b.txt.gz", "rest"),
        ("/aXb", "rest"),
        ("/a.b", "dot"),
        ("/grüße/ö/1", "umlauts"),
        ("/Users", "rest"),
        ("//users", "rest"),
        ("*", "rest"),  # of `OPTIONS *`
    ],
)
def test_most_specific_pattern_decides(path: str, expected: str | None) -> None:
    assert circuit(RoutePatterns(ROUTES), path) == expected
    backwards = dict(reversed(list(ROUTES.items())))
    assert circuit(RoutePatterns(backwards), path) == expected


def test_without_patterns_nothing_is_protected() -> None:
    assert circuit(RoutePatterns({}), "/") is None
    assert circuit(RoutePatterns({"/users": "users"}), "/") is None


@pytest.mark.parametrize(
    ("root", "path", "expected"),
    [
        ("/api", "/users", "users"),
        ("/api/", "/users", "rest"),  # "/api//users": no route of the app either
        ("/api", "", "rest"),
        ("/api/v1", "/users/7", "user"),
    ],
)
def test_path_is_the_mounted_apps_own(root: str, path: str, expected: str) -> None:
    assert circuit(RoutePatterns(ROUTES), path, root) == expected


def test_root_path_that_a_proxy_has_taken_away_is_not_in_the_path() -> None:
    find = RoutePatterns(ROUTES)
    for root, path in (("/api", "/users"), ("/users", "/usersx/../users")):
        found = find({"type": "http", "root_path": root, "path": path})
        assert found is not None
        assert found.circuit == ("users" if path == "/users" else "rest")


def test_hundreds_of_patterns() -> None:
    find = RoutePatterns({f"/part{number}": f"circuit{number}" for number in range(500)})
    for number in (0, 49, 499):
        assert circuit(find, f"/part{number}/x") == f"circuit{number}"


def test_a_name_stands_for_a_circuit_and_a_route_for_itself() -> None:
    route = ProtectedRoute(needs=["payments"])
    find = RoutePatterns({"/a": "own", "/b": route})
    assert find(Script(path="/a").scope()) == ProtectedRoute(circuit="own")
    assert find(Script(path="/b").scope()) is route


class TestAskingAFunction:
    def test_it_gets_the_scope_and_tells_the_protection(self) -> None:
        route = ProtectedRoute(needs=["payments"])
        answers: dict[str, Any] = {"/a": "own", "/b": route, "/c": None}
        find = finder(lambda scope: answers[scope["path"]], pytest.fail)
        assert find(Script(path="/a").scope()) == ProtectedRoute(circuit="own")
        assert find(Script(path="/b").scope()) is route
        assert find(Script(path="/c").scope()) is None

    @pytest.mark.parametrize("answer", [7, "", "x" * 300, "\n", ["payments"]])
    def test_what_is_no_protection_is_surfaced_and_protects_nothing(self, answer: Any) -> None:
        errors: list[Exception] = []
        assert finder(lambda _: answer, errors.append)(Script().scope()) is None
        [error] = errors
        assert isinstance(error, RoutingError)
        assert "the result of routes" in str(error)

    def test_so_is_what_it_raises(self) -> None:
        errors: list[Exception] = []
        find = finder(lambda scope: scope["no such key"], errors.append)
        assert find(Script().scope()) is None
        assert "KeyError" in str(errors[0])
        assert isinstance(errors[0].__cause__, KeyError)


class TestRefused:
    @pytest.mark.parametrize(
        ("routes", "message"),
        [
            ("/users", "routes must be a mapping or a function, not '/users'"),
            (["/users"], "routes must be a mapping or a function"),
            ({7: "x"}, "a pattern in routes must be a string, not 7"),
            ({"/users": 7}, r"routes\['/users'\] must be a circuit's name.* not 7"),
            ({"/users": ["payments"]}, "must be a circuit's name, a ProtectedRoute or None"),
        ],
    )
    def test_of_the_wrong_type(self, routes: Any, message: str) -> None:
        with pytest.raises(TypeError, match=message):
            BreakerMiddleware(pytest.fail, Coordinator(), routes=routes)

    @pytest.mark.parametrize(
        ("routes", "message"),
        [
            ({"users": "x"}, "'users' must begin with '/'"),
            ({"": "x"}, "must not be empty"),
            ({"/users/{id}": "x"}, r"holds '\{': write '\*' for a parameter"),
            ({"/users/**": "x"}, r"holds '\*\*'.*matches within a segment"),
            ({"/users?page=1": "x"}, "a path has no query"),
            ({"/users#top": "x"}, "a path has no fragment"),
            ({"/users//cart": "x"}, "has an empty segment"),
            ({"//": "x"}, "has an empty segment"),
            ({"/users": "x", "/users/": "y"}, "'/users' is there twice"),
            ({"/users": ""}, r"routes\['/users'\] must not be empty"),
        ],
    )
    def test_of_no_use(self, routes: Any, message: str) -> None:
        with pytest.raises(ValueError, match=message):
            BreakerMiddleware(pytest.fail, Coordinator(), routes=routes)

    @pytest.mark.parametrize(
        ("settings", "error", "message"),
        [
            ({}, ValueError, "a ProtectedRoute needs circuit or needs"),
            ({"circuit": ""}, ValueError, "circuit must not be empty"),
            ({"circuit": 7}, TypeError, "circuit must be a string"),
            ({"needs": "payments"}, TypeError, "needs must be a list of circuits' names"),
            ({"needs": {"payments"}}, TypeError, "needs must be a list"),
            ({"needs": [7]}, TypeError, "a name in needs must be a string"),
            ({"circuit": "x", "fallback": "/y"}, TypeError, "fallback must be callable"),
        ],
    )
    def test_settings_of_a_route(
        self, settings: dict[str, Any], error: type[Exception], message: str
    ) -> None:
        with pytest.raises(error, match=message):
            ProtectedRoute(**settings)
