"""The dependencies, the exception handler and the OpenAPI schema."""

import json
import subprocess
import sys
from typing import Annotated, Any

import pytest
from fastapi import APIRouter, Depends, FastAPI, WebSocket
from pydantic import BaseModel
from starlette.applications import Starlette
from starlette.routing import Mount

from tests.asgi.messages import Played, play
from tests.http.circuits import counts, opened
from zenvark_web import Breaker, BreakerMiddleware, CircuitOpenError, Coordinator
from zenvark_web.fastapi import breaker, circuit_open_handler, requires, unavailable


def shop(coordinator: Coordinator) -> FastAPI:
    app = FastAPI()
    app.add_middleware(BreakerMiddleware, coordinator=coordinator)

    @app.post("/checkout", dependencies=[Depends(requires("payments", "stock"))])
    async def checkout(order: dict[str, int]) -> dict[str, int]:
        return order

    @app.get("/breaker")
    async def name(payments: Annotated[Breaker, Depends(breaker("payments"))]) -> str:
        return payments.name

    @app.websocket("/live")
    async def live(
        websocket: WebSocket,
        payments: Annotated[Breaker, Depends(breaker("payments"))],
        _: Annotated[None, Depends(requires("payments"))],
    ) -> None:
        await websocket.accept()
        await websocket.send_text(payments.name)
        await websocket.close()

    return app


async def post(app: Any, path: str = "/checkout") -> Played:
    return await play(
        app,
        method="POST",
        path=path,
        body=[b'{"tea": 1}'],
        headers=[("content-type", "application/json")],
    )


def assert_is_problem(played: Played, least: int = 1) -> None:
    assert played.error is None
    assert played.status == 503
    assert played.headers["content-type"] == "application/problem+json"
    assert least <= int(played.headers["retry-after"]) <= 72
    assert json.loads(played.body)["type"] == "urn:zenvark:problem:circuit-open"


class TestDependencies:
    async def test_breaker_of_the_middlewares_coordinator(self, patient: Coordinator) -> None:
        played = await play(shop(patient), path="/breaker")
        assert played.body == b'"payments"'
        assert list(patient.breakers) == ["payments"]

    async def test_required_circuit_that_is_closed(self, patient: Coordinator) -> None:
        assert (await post(shop(patient))).body == b'{"tea":1}'

    @pytest.mark.parametrize("needed", ["payments", "stock"])
    async def test_required_circuit_that_is_open(self, brisk: Coordinator, needed: str) -> None:
        await opened(brisk.breaker(needed))
        assert_is_problem(await post(shop(brisk)), least=30)
        assert brisk.breaker(needed).blocked == 1

    async def test_in_a_websocket(self, brisk: Coordinator) -> None:
        played = await play(shop(brisk), method="WEBSOCKET", path="/live")
        assert played.sent[1] == {"type": "websocket.send", "text": "payments"}
        await opened(brisk.breaker("payments"))
        played = await play(shop(brisk), method="WEBSOCKET", path="/live")
        assert [(m["type"], m["code"]) for m in played.sent] == [("websocket.close", 1013)]
        denial = ["websocket.http.response"]
        played = await play(shop(brisk), method="WEBSOCKET", path="/live", extensions=denial)
        assert_is_problem(played)

    async def test_coordinator_may_be_given(self, brisk: Coordinator, patient: Coordinator) -> None:
        await opened(brisk.breaker("payments"))
        needed = Depends(requires("payments", coordinator=brisk))
        app = FastAPI(dependencies=[needed])

        @app.get("/")
        async def home(given: Annotated[Breaker, Depends(breaker("x", patient))]) -> str:
            return given.name

        assert isinstance((await play(app)).error, CircuitOpenError)  # no middleware answers
        app.dependency_overrides[needed.dependency] = lambda: None  # type: ignore[index]
        assert (await play(app)).body == b'"x"'
        assert list(patient.breakers) == ["x"]

    async def test_without_the_middleware_it_says_what_to_do(self) -> None:
        app = FastAPI(dependencies=[Depends(breaker("payments"))])
        app.get("/")(lambda: None)
        error = (await play(app)).error
        assert isinstance(error, RuntimeError)
        assert "app.add_middleware(BreakerMiddleware, coordinator=coordinator)" in str(error)

    async def test_in_a_mounted_app(self, brisk: Coordinator) -> None:
        """The middleware around the outer app is around the inner one as well."""
        inner = FastAPI(dependencies=[Depends(requires("payments"))])
        inner.get("/")(lambda: "paid")
        inner.add_exception_handler(CircuitOpenError, circuit_open_handler)
        app = Starlette(routes=[Mount("/inner", inner)])
        app.add_middleware(BreakerMiddleware, coordinator=brisk)
        assert (await play(app, path="/inner/")).body == b'"paid"'
        await opened(brisk.breaker("payments"))
        assert_is_problem(await play(app, path="/inner/"))

    @pytest.mark.parametrize(
        ("make", "names", "coordinator", "error"),
        [
            (breaker, [""], None, ValueError),
            (breaker, [7], None, TypeError),
            (breaker, ["x"], "redis://localhost", TypeError),
            (requires, [], None, ValueError),
            (requires, ["x", ""], None, ValueError),
            (requires, ["x"], "redis://localhost", TypeError),
        ],
    )
    def test_bad_settings_are_refused(
        self, make: Any, names: list[Any], coordinator: Any, error: type[Exception]
    ) -> None:
        with pytest.raises(error):
            make(*names, coordinator=coordinator)


class TestHandler:
    def app(self, **settings: Any) -> FastAPI:
        app = FastAPI()
        app.add_exception_handler(CircuitOpenError, circuit_open_handler)
        for cls, options in settings.items():
            app.add_middleware({"breaker": BreakerMiddleware}[cls], **options)

        @app.get("/")
        async def home() -> None:
            raise CircuitOpenError("payments.internal", 2.5)

        @app.head("/")
        async def head() -> None:
            raise CircuitOpenError("payments.internal", 2.5)

        @app.websocket("/live")
        async def live(websocket: WebSocket) -> None:
            raise CircuitOpenError("payments.internal", 2.5)

        return app

    async def test_answers_without_the_middleware(self) -> None:
        played = await play(self.app())
        assert_is_problem(played, least=3)
        assert b"internal" not in played.body

    async def test_head(self) -> None:
        played = await play(self.app(), method="HEAD")
        assert (played.status, played.body) == (503, b"")
        assert int(played.headers["content-length"]) > 0

    async def test_answer_does_not_count_against_the_route(self, patient: Coordinator) -> None:
        """As it would not if the middleware had answered."""
        app = self.app(breaker={"coordinator": patient, "routes": {"/": "own"}})
        assert_is_problem(await play(app))
        assert counts(patient.breaker("own")) == (0, 0)

    async def test_websocket_is_left_to_the_middleware(self, patient: Coordinator) -> None:
        app = self.app(breaker={"coordinator": patient})
        played = await play(app, method="WEBSOCKET", path="/live")
        assert [(m["type"], m["code"]) for m in played.sent] == [("websocket.close", 1013)]
        bare = await play(self.app(), method="WEBSOCKET", path="/live")
        assert isinstance(bare.error, CircuitOpenError)

    async def test_other_errors_are_not_its_business(self) -> None:
        app = self.app()
        app.add_exception_handler(ValueError, circuit_open_handler)
        error = ValueError("x")

        @app.get("/other")
        async def other() -> None:
            raise error

        assert (await play(app, path="/other")).error is error


class TestSchema:
    def answer(self, app: FastAPI, path: str) -> dict[str, Any]:
        responses: dict[str, Any] = app.openapi()["paths"][path]["get"]["responses"]
        return responses.get("503", {})

    def test_routes_routers_and_apps_take_it(self) -> None:
        app = FastAPI()
        router = APIRouter(prefix="/api", responses=unavailable())

        class Price(BaseModel):
            amount: int

        @app.get("/price", responses={**unavailable(), 404: {"description": "No such thing."}})
        async def price() -> Price:
            return Price(amount=42)

        @router.get("/routed")
        async def routed() -> str:
            return "x"

        @app.get("/plain")
        async def plain() -> str:
            return "x"

        app.include_router(router)
        assert self.answer(app, "/plain") == {}
        for path in ("/price", "/api/routed"):
            answer = self.answer(app, path)
            assert list(answer["content"]) == ["application/problem+json"]
            assert answer["headers"]["Retry-After"]["schema"] == {"type": "integer", "minimum": 1}
            assert answer["description"] == "A circuit is open."
        assert set(app.openapi()["paths"]["/price"]["get"]["responses"]) == {"200", "404", "503"}
        whole = FastAPI(responses=unavailable())
        whole.get("/")(lambda: None)
        assert self.answer(whole, "/") == self.answer(app, "/price")
        json.dumps(app.openapi())

    def test_each_call_gives_one_of_its_own(self) -> None:
        unavailable()[503]["content"].clear()
        assert unavailable()[503]["content"]

    @pytest.mark.parametrize("early", [False, True])
    async def test_answers_are_as_the_schema_says(self, brisk: Coordinator, early: bool) -> None:
        routes = {"/": "payments"} if early else {}
        app = FastAPI()
        app.add_middleware(BreakerMiddleware, coordinator=brisk, routes=routes)

        @app.get("/", responses=unavailable(), dependencies=[Depends(requires("payments"))])
        async def home() -> None: ...

        await opened(brisk.breaker("payments"))
        played = await play(app)
        answer = self.answer(app, "/")
        [(media_type, content)] = answer["content"].items()
        assert played.headers["content-type"] == media_type
        assert {name.lower() for name in answer["headers"]} <= played.headers.keys()
        document, schema = json.loads(played.body), content["schema"]
        assert document.keys() == set(schema["required"]) < schema["properties"].keys()
        assert document["type"] in schema["properties"]["type"]["enum"]
        assert document["status"] == schema["properties"]["status"]["const"]
        kinds = {"string": str, "integer": int}
        for name, value in document.items():
            assert type(value) is kinds[schema["properties"][name]["type"]]


def test_fastapi_itself_is_not_imported() -> None:
    code = "import sys, zenvark_web.fastapi; print('fastapi' in sys.modules)"
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ended.stdout.strip() == "False"
