"""One test for clients of every kind: a sync client's results are there at once, an async one's
are awaited."""

import inspect
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import Any

from tests.helpers.waiting import PATIENCE
from tests.http.clients import Kind


async def over(result: Any) -> Any:
    """What a client's method gives, once it is there."""
    return await result if inspect.isawaitable(result) else result


def use(kind: Kind, transport: Any, work: Callable[[Any], Awaitable[Any]], **settings: Any) -> Any:
    """Work with a client, in an event loop also if it is a synchronous one."""

    async def main() -> Any:
        client = kind.client(transport, **{"timeout": PATIENCE, **settings})
        try:
            return await work(client)
        finally:
            await over(client.close() if kind.sync else client.aclose())

    if not kind.sync:
        return kind.run(main)
    return Kind(kind.library, kind.ours, "asyncio").run(main)


async def sent(client: Any, url: str, **settings: Any) -> Any:
    """A response whose body is still to come."""
    return await over(client.send(client.build_request("GET", url, **settings), stream=True))


def body(kind: Kind, make: Callable[[], Iterator[bytes]]) -> Any:
    """A body made in chunks, for a request or a mock's response."""

    async def make_async() -> AsyncIterator[bytes]:
        for chunk in make():
            yield chunk

    return make() if kind.sync else make_async()
