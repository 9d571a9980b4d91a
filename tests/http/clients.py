"""The kinds of clients there are: two libraries, each with asyncio, trio and threads."""

from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from types import ModuleType
from typing import Any, TypeVar

import anyio
import httpx
import httpx2

import zenvark_web.httpx
import zenvark_web.httpx2

T = TypeVar("T")


@dataclass(frozen=True)
class Kind:
    """A kind of client.

    Args:
        library: `httpx` or `httpx2`.
        ours: The module of that name in this package.
        runner: `asyncio`, `trio`, or `sync`.
    """

    library: Any
    ours: Any
    runner: str

    def __str__(self) -> str:
        return f"{self.library.__name__}-{self.runner}"

    @property
    def sync(self) -> bool:
        """Whether its clients are synchronous."""
        return self.runner == "sync"

    def run(self, work: Callable[[], Awaitable[T]]) -> T:
        """Run asynchronous work as this kind does."""
        return anyio.run(work, backend=self.runner)

    def client(self, transport: Any, **settings: Any) -> Any:
        """A client."""
        made = self.library.Client if self.sync else self.library.AsyncClient
        return made(transport=transport, trust_env=False, **settings)

    def real_transport(self, **settings: Any) -> Any:
        """A transport that uses the network."""
        made = self.library.HTTPTransport if self.sync else self.library.AsyncHTTPTransport
        return made(**{"verify": False, **settings})

    def guarded(self, coordinator: Any, inner: Any = None, **settings: Any) -> Any:
        """A `BreakerTransport`."""
        return self.ours.BreakerTransport(coordinator, inner, **settings)


LIBRARIES: list[tuple[ModuleType, ModuleType]] = [
    (httpx, zenvark_web.httpx),
    (httpx2, zenvark_web.httpx2),
]


def kinds() -> Iterator[Kind]:
    """All kinds."""
    for library, ours in LIBRARIES:
        for runner in ("asyncio", "trio", "sync"):
            yield Kind(library, ours, runner)


KINDS = list(kinds())
