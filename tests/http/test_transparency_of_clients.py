"""A client whose transport is wrapped behaves as one whose transport is not.

Each behaviour is played twice, bare and wrapped, by each kind of client, and everything that can
be seen is compared: what the caller gets, what the server got, and how the inner transport and the
bodies were treated, step by step.
"""

import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from types import TracebackType
from typing import Any

import anyio
import pytest

from tests.helpers.waiting import PATIENCE
from tests.http import server
from tests.http.backstage import Backstage, backstage
from tests.http.clients import KINDS, Kind
from tests.http.conftest import PATIENT
from tests.http.server import Answer, Exchange
from zenvark_web import Coordinator

pytestmark = pytest.mark.filterwarnings("ignore:Async generator .* was garbage collected")


@pytest.fixture(scope="module")
def stage() -> Iterator[Backstage]:
    with backstage() as running:
        yield running


@pytest.fixture(scope="module")
def coordinator(stage: Backstage) -> Coordinator:
    return stage.start(PATIENT)


async def now(value: Any) -> Any:
    """What a client returns, or makes one wait for."""
    return await value if hasattr(value, "__await__") else value


class Scene:
    """A client, and all that was seen of it.

    Args:
        kind: The kind of client.
        stage: The server.
        wrapped: The coordinator of the transport around the inner one, if there is to be one.
        settings: The client's.
    """

    def __init__(
        self, kind: Kind, stage: Backstage, wrapped: Coordinator | None, settings: dict[str, Any]
    ) -> None:
        self.kind = kind
        self.stage = stage
        self.seen: list[Any] = []
        inner = spy(kind, self.seen)
        transport = inner if wrapped is None else kind.guarded(wrapped, inner)
        settings = {"base_url": stage.upstream.url, "timeout": PATIENCE, **settings}
        self.client = kind.client(transport, **settings)

    @property
    def hasty(self) -> Any:
        """A timeout that runs out when nothing comes."""
        return self.kind.library.Timeout(PATIENCE, read=0.2)

    def see(self, *what: Any) -> None:
        """Take note of something."""
        self.seen.append(what)

    async def look(self, response: Any) -> None:
        """Take note of all that can be seen of a response."""
        self.see(
            response.status_code,
            response.reason_phrase,
            response.http_version,
            [pair for pair in response.headers.multi_items() if pair[0] != "date"],
            sorted(response.extensions),
            str(response.url),
            response.request.method,
            response.is_closed,
            response.is_stream_consumed,
            response.num_bytes_downloaded,
            response.encoding,
            [hop.status_code for hop in response.history],
            response.next_request and str(response.next_request.url),
            dict(response.cookies),
        )
        if response.is_closed:
            self.see(response.elapsed.total_seconds() > 0, response.content)

    async def get(self, *args: Any, method: str = "GET", **settings: Any) -> Any:
        """Make a request, and look at the response."""
        response = await now(self.client.request(method, *args, **settings))
        await self.look(response)
        return response

    @contextlib.asynccontextmanager
    async def stream(self, *args: Any, **settings: Any) -> AsyncIterator[Any]:
        """Stream a response."""
        opened = self.client.stream("GET", *args, **settings)
        if self.kind.sync:
            with opened as response:
                yield response
        else:
            async with opened as response:
                yield response

    async def each(self, response: Any, how: str, *args: Any) -> AsyncIterator[Any]:
        """The parts of a body."""
        if self.kind.sync:
            for part in getattr(response, f"iter_{how}")(*args):
                yield part
        else:
            async for part in getattr(response, f"aiter_{how}")(*args):
                yield part

    async def read(self, response: Any) -> Any:
        """The body."""
        return await now(response.read() if self.kind.sync else response.aread())

    async def close(self, thing: Any) -> None:
        """Close a response or a client."""
        await now(thing.close() if self.kind.sync else thing.aclose())

    @contextlib.asynccontextmanager
    async def entered(self) -> AsyncIterator[None]:
        """Use the client as a context manager."""
        if self.kind.sync:
            with self.client:
                yield
        else:
            async with self.client:
                yield


def spy(kind: Kind, seen: list[Any]) -> Any:  # noqa: C901 - two bodies and two sides of a transport
    """A real transport, and a record of how it and its bodies are treated."""
    library = kind.library
    real = kind.real_transport()

    class AsyncResponseBody(library.AsyncByteStream):  # type: ignore[misc,name-defined]
        def __init__(self, stream: Any) -> None:
            self.stream = stream

        async def __aiter__(self) -> AsyncIterator[bytes]:
            seen.append("iterated")
            try:
                async for chunk in self.stream:
                    seen.append(("chunk", chunk))
                    yield chunk
                seen.append("exhausted")
            except GeneratorExit:
                seen.append("left")
                raise

        async def aclose(self) -> None:
            seen.append("body closed")
            await self.stream.aclose()

    class SyncResponseBody(library.SyncByteStream):  # type: ignore[misc,name-defined]
        def __init__(self, stream: Any) -> None:
            self.stream = stream

        def __iter__(self) -> Iterator[bytes]:
            seen.append("iterated")
            try:
                for chunk in self.stream:
                    seen.append(("chunk", chunk))
                    yield chunk
                seen.append("exhausted")
            except GeneratorExit:
                seen.append("left")
                raise

        def close(self) -> None:
            seen.append("body closed")
            self.stream.close()

    class Spy(library.AsyncBaseTransport, library.BaseTransport):  # type: ignore[misc,name-defined]
        async def handle_async_request(self, request: Any) -> Any:
            seen.append(("request", request.method, str(request.url), request.headers.raw))
            seen.append(sorted(request.extensions))
            response = await real.handle_async_request(request)
            response.stream = AsyncResponseBody(response.stream)
            return response

        def handle_request(self, request: Any) -> Any:
            seen.append(("request", request.method, str(request.url), request.headers.raw))
            seen.append(sorted(request.extensions))
            response = real.handle_request(request)
            response.stream = SyncResponseBody(response.stream)
            return response

        async def aclose(self) -> None:
            seen.append("closed")
            await real.aclose()

        def close(self) -> None:
            seen.append("closed")
            real.close()

        async def __aenter__(self) -> Any:
            seen.append("entered")
            await real.__aenter__()
            return self

        def __enter__(self) -> Any:
            seen.append("entered")
            real.__enter__()
            return self

        async def __aexit__(
            self,
            kind: type[BaseException] | None = None,
            error: BaseException | None = None,
            traceback: TracebackType | None = None,
        ) -> None:
            seen.append(("left", kind))
            await real.__aexit__(kind, error, traceback)

        def __exit__(
            self,
            kind: type[BaseException] | None = None,
            error: BaseException | None = None,
            traceback: TracebackType | None = None,
        ) -> None:
            seen.append(("left", kind))
            real.__exit__(kind, error, traceback)

    return Spy()


Behaviour = Callable[[Scene], Awaitable[None]]
BEHAVIOURS: dict[str, tuple[Behaviour, Answer, dict[str, Any]]] = {}


def behaviour(answer: Answer = server.ok, **settings: Any) -> Callable[[Behaviour], Behaviour]:
    """Register something that clients do."""

    def register(function: Behaviour) -> Behaviour:
        BEHAVIOURS[function.__name__] = function, answer, settings
        return function

    return register


async def echo(exchange: Exchange) -> None:
    """Send back what was sent."""
    body = await exchange.read_body()
    sent = repr((exchange.method, exchange.target, sorted(exchange.headers.items()))).encode()
    await server.status(200, "Content-Type: text/plain", body=sent + body)(exchange)


async def wandering(exchange: Exchange) -> None:
    number = int(exchange.target.strip("/") or 0)
    if number:
        await server.status(302, f"Location: /{number - 1}", f"Set-Cookie: hop{number}=1")(exchange)
    else:
        await echo(exchange)


async def challenging(exchange: Exchange) -> None:
    challenge = 'WWW-Authenticate: Digest realm="x", qop="auth", nonce="n", algorithm="MD5"'
    known = "authorization" in exchange.headers
    await (server.ok if known else server.status(401, challenge))(exchange)


LINES = server.chunked(b"first\nse", b"cond\r\nthird", b"\n", b"\xc3", b"\xbc\n")
HEADERS = server.status(200, "X-A: 1", "X-A: 2", "Set-Cookie: a=1", "Set-Cookie: b=2", body=b"x")


@behaviour()
async def get(scene: Scene) -> None:
    await scene.get("/path?x=1#y")


@behaviour(HEADERS)
async def headers_and_cookies(scene: Scene) -> None:
    await scene.get("/")
    await scene.get("/")
    scene.see(sorted(scene.client.cookies.items()))


@behaviour(server.status(200))
async def head(scene: Scene) -> None:
    await scene.get("/", method="HEAD")


@behaviour(server.status(204))
async def no_content(scene: Scene) -> None:
    await scene.get("/")


@behaviour(echo)
async def bodies(scene: Scene) -> None:
    await scene.get("/", method="POST", content=b"bytes")
    await scene.get("/", method="PUT", json={"a": [1, None]})
    await scene.get("/", method="POST", data={"a": "b", "c": ["d", "e"]})
    await scene.get("/", method="PATCH", content="täxt", params={"q": "ü"})
    boundary = {"Content-Type": "multipart/form-data; boundary=x"}
    await scene.get("/", method="POST", files={"f": ("n.txt", b"file")}, headers=boundary)


@behaviour(echo)
async def streamed_body(scene: Scene) -> None:
    def parts() -> Iterator[bytes]:
        yield b"hello, "
        yield b"world"

    async def parts_async() -> AsyncIterator[bytes]:
        for part in parts():
            yield part

    content: Any = parts() if scene.kind.sync else parts_async()
    await scene.get("/", method="POST", content=content)


@behaviour(wandering, follow_redirects=True)
async def redirects(scene: Scene) -> None:
    await scene.get("/3", extensions={"own": "word"})


@behaviour(wandering)
async def redirects_by_hand(scene: Scene) -> None:
    response = await scene.get("/2")
    following = await now(scene.client.send(response.next_request))
    await scene.look(following)


@behaviour(wandering, follow_redirects=True, max_redirects=2)
async def too_many_redirects(scene: Scene) -> None:
    await scene.get("/9")


@behaviour(challenging)
async def digest(scene: Scene) -> None:
    auth = scene.kind.library.DigestAuth("user", "secret")
    response = await now(scene.client.get("/", auth=auth))
    scene.see(response.status_code, [hop.status_code for hop in response.history])
    # What is random in it would not be equal.
    scene.seen[:] = [item for item in scene.seen if not isinstance(item, tuple)]


@behaviour(echo, auth=("user", "secret"), headers={"X-A": "b"}, params={"p": "q"})
async def client_settings(scene: Scene) -> None:
    await scene.get("/")


@behaviour(LINES)
async def raw_chunks(scene: Scene) -> None:
    async with scene.stream("/") as response:
        await scene.look(response)
        async for chunk in scene.each(response, "raw"):
            scene.see(chunk, response.num_bytes_downloaded)
        scene.see(response.is_closed, response.is_stream_consumed)


@behaviour(LINES)
async def sized_chunks(scene: Scene) -> None:
    for how, *args in (("bytes", 3), ("text",), ("lines",), ("raw", 4), ("bytes",)):
        async with scene.stream("/") as response:
            async for part in scene.each(response, how, *args):
                scene.see(how, part)


@behaviour(server.gzipped)
async def decoding(scene: Scene) -> None:
    await scene.get("/")
    async with scene.stream("/") as response:
        async for part in scene.each(response, "bytes", 1000):
            scene.see(part)


@behaviour(server.badly_gzipped)
async def decoding_fails(scene: Scene) -> None:
    await scene.get("/")


@behaviour(server.chunked(b"hello", b"world"))
async def leaving_early(scene: Scene) -> None:
    async with scene.stream("/") as response:
        scene.see(response.is_closed)
    scene.see(response.is_closed)
    await scene.read(response)


@behaviour(server.chunked(b"hello", b"world"))
async def reading_twice(scene: Scene) -> None:
    async with scene.stream("/") as response:
        scene.see(await scene.read(response), await scene.read(response))
        async for part in scene.each(response, "bytes"):
            scene.see(part)
        async for part in scene.each(response, "raw"):
            scene.see(part)


@behaviour(server.chunked(b"hello", b"world"))
async def own_error(scene: Scene) -> None:
    async with scene.stream("/") as response:
        scene.see(response.status_code)
        raise LookupError("own")


@behaviour()
async def by_hand(scene: Scene) -> None:
    request = scene.client.build_request("GET", "/")
    response = await now(scene.client.send(request, stream=True))
    scene.see(response.request is request)
    await scene.close(response)
    await scene.close(response)
    scene.see(response.is_closed)


@behaviour(server.status(404, body=b"none"))
async def bad_status(scene: Scene) -> None:
    (await scene.get("/")).raise_for_status()


@behaviour(server.chunked(b"hello", b"world"))
async def own_error_while_reading(scene: Scene) -> None:
    async with scene.stream("/") as response:
        async for _ in scene.each(response, "raw"):
            raise LookupError("own")


@behaviour(server.chunked(b"hello", b"world"))
async def breaking_off(scene: Scene) -> None:
    async with scene.stream("/") as response:
        parts = response.iter_raw() if scene.kind.sync else response.aiter_raw()
        scene.see(await now(next(parts) if scene.kind.sync else anext(parts)))
        await scene.close(parts)


@behaviour(server.stall)
async def read_timeout(scene: Scene) -> None:
    await scene.get("/", timeout=scene.hasty)


@behaviour(server.half(server.stall))
async def read_timeout_in_the_body(scene: Scene) -> None:
    await scene.get("/", timeout=scene.hasty)


@behaviour(server.refuse_to_answer)
async def no_answer(scene: Scene) -> None:
    await scene.get("/")


@behaviour(server.gibberish)
async def no_http(scene: Scene) -> None:
    await scene.get("/")


@behaviour(server.reset)
async def reset(scene: Scene) -> None:
    await scene.get("/")


@behaviour()
async def odd_urls(scene: Scene) -> None:
    for url in ("ftp://localhost/", "http://", "https://[::1", "http://nobody.invalid:99999/"):
        try:
            await scene.get(url)
        except Exception as error:
            scene.see(type(error), str(error))


@behaviour()
async def bad_header(scene: Scene) -> None:
    await scene.get("/", headers={"X": "two\r\nlines"})


@behaviour()
async def trace(scene: Scene) -> None:
    def note(name: str, info: Any) -> None:
        scene.see(name, sorted(info))

    async def note_async(name: str, info: Any) -> None:
        note(name, info)

    await scene.get("/", extensions={"trace": note if scene.kind.sync else note_async})


@behaviour()
async def hooks(scene: Scene) -> None:
    def on_request(request: Any) -> None:
        scene.see(request.method)

    def on_response(response: Any) -> None:
        scene.see(response.status_code, response.is_closed, response.read())

    async def on_request_async(request: Any) -> None:
        on_request(request)

    async def on_response_async(response: Any) -> None:
        scene.see(response.status_code, response.is_closed, await response.aread())

    scene.client.event_hooks = (
        {"request": [on_request], "response": [on_response]}
        if scene.kind.sync
        else {"request": [on_request_async], "response": [on_response_async]}
    )
    await scene.get("/")


@behaviour()
async def hook_raises(scene: Scene) -> None:
    def fail(response: Any) -> None:
        raise LookupError("hook")

    async def fail_async(response: Any) -> None:
        fail(response)

    scene.client.event_hooks = {"response": [fail if scene.kind.sync else fail_async]}
    await scene.get("/")


@behaviour(server.status(101, "Upgrade: x", "Connection: upgrade"))
async def upgrade(scene: Scene) -> None:
    async with scene.stream("/", headers={"Connection": "upgrade", "Upgrade": "x"}) as response:
        await scene.look(response)
        scene.see(type(response.extensions["network_stream"]).__name__)


@behaviour()
async def closed_client(scene: Scene) -> None:
    await scene.get("/")
    await scene.close(scene.client)
    await scene.close(scene.client)
    await scene.get("/")


async def play(scene: Scene, act: Behaviour) -> None:
    """Play a behaviour, and take note of how it ends."""
    try:
        async with scene.entered():
            await act(scene)
    except Exception as error:
        scene.see("raised", type(error), str(error), type(error.__cause__))
        with contextlib.suppress(RuntimeError):
            request = getattr(error, "request", None)
            scene.see(request and str(request.url))


def seen(
    kind: Kind, stage: Backstage, wrapped: Coordinator | None, name: str
) -> tuple[list[Any], list[Any]]:
    """What the caller and the server saw."""
    act, answer, settings = BEHAVIOURS[name]
    stage.set(answer)
    scene = Scene(kind, stage, wrapped, settings)
    if kind.sync:
        play_now(play(scene, act))
    else:
        anyio.run(play, scene, act, backend=kind.runner)
    arrived = [
        (got.method, got.target, {k: v for k, v in got.headers.items() if k != "authorization"})
        for got in stage.upstream.requests
    ]
    return scene.seen, arrived


def play_now(work: Any) -> None:
    """Run what never waits."""
    with contextlib.suppress(StopIteration):
        work.send(None)
        raise AssertionError("a synchronous client made somebody wait")


@pytest.mark.parametrize("name", BEHAVIOURS)
@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_nothing_is_different(
    kind: Kind, name: str, stage: Backstage, coordinator: Coordinator
) -> None:
    bare = seen(kind, stage, None, name)
    assert bare[0], "nothing was looked at"
    assert seen(kind, stage, coordinator, name) == bare
    assert not stage.errors
