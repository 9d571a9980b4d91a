"""The health check of both libraries."""

from __future__ import annotations

import asyncio
import re
import ssl
from collections.abc import Awaitable, Callable, Container
from typing import Any, cast

from .._core._checks import check_number
from .._core.states import HealthCheckType
from ..exceptions import HealthCheckError
from .messages import redacted


class UrlHealthCheck:
    """The `HttpHealthCheck` of both libraries."""

    _module: Any  # the client library

    def __init__(
        self, url: str, *, expect: Container[int] = range(200, 400), timeout: float = 5.0
    ) -> None:
        """Check a URL.

        Args:
            url: The URL. `{name}` in it is replaced by the circuit's name (a host, optionally with
                a port, if circuits are named by host), so that one check serves many circuits.
            expect: The statuses that pass.
            timeout: Seconds for the whole exchange; half of them for the connection.

        Raises:
            TypeError, ValueError: A setting is not usable.
        """
        check_number("timeout", timeout, above=0, unit="seconds")
        self._check_url(url)
        _check_expected(expect)
        self._url = url
        self._expect = expect
        self._timeout = timeout
        self._tls: ssl.SSLContext | None = None

    def __repr__(self) -> str:
        return f"HttpHealthCheck({redacted(self._url)!r})"

    def for_circuit(self, name: str) -> Callable[[HealthCheckType], Awaitable[None]]:
        """The check of one circuit.

        Raises:
            ValueError: The circuit's name cannot be part of a URL.
        """
        if "{name}" in self._url and not re.fullmatch(r"[A-Za-z0-9._~:\[\]-]+", name):
            raise ValueError(
                f"the name of circuit {name!r} cannot be part of the URL of its health check: give "
                "it a policy with a check of its own"
            )
        url = self._url.replace("{name}", name)

        async def check(_: HealthCheckType) -> None:
            await self._check(url)

        return check

    async def __call__(self, type_: HealthCheckType) -> None:
        """Check the URL, if it is one without `{name}`.

        Raises:
            HTTPError, TimeoutError: No response (the library's error), or not in time.
            HealthCheckError: The response has another status.
        """
        await self._check(self._url)

    async def _check(self, url: str) -> None:
        verify = self._verify(url)
        # This limit ends a TLS handshake before it is cancelled: only then httpx closes its socket.
        limits = self._module.Timeout(self._timeout, connect=self._timeout / 2)
        async with (
            asyncio.timeout(self._timeout),
            self._module.AsyncClient(verify=verify, timeout=limits) as client,
            client.stream("GET", url) as response,
        ):
            if response.status_code not in self._expect:
                raise HealthCheckError(f"status {response.status_code}")

    def _verify(self, url: str) -> ssl.SSLContext | bool:
        """One TLS context for all checks: creating one is slow."""
        # Plain HTTP needs no certificates, which take a while to load.
        if not url.startswith("https:"):
            return False
        if self._tls is None:
            self._tls = cast(ssl.SSLContext, self._module.create_ssl_context())
        return self._tls

    def _check_url(self, url: object) -> None:
        if not isinstance(url, str):
            raise TypeError(f"url must be a string, not {url!r}")
        try:
            parsed = self._module.URL(url.replace("{name}", "name"))
        except self._module.InvalidURL as error:
            raise _no_health_url(url) from error
        if parsed.scheme not in {"http", "https"} or not parsed.host or (parsed.port or 0) > 65535:
            raise _no_health_url(url)


def _no_health_url(url: str) -> ValueError:
    return ValueError(
        f"url must be one such as 'https://api.example.com/health', not {redacted(url)!r}"
    )


def _check_expected(expect: object) -> None:
    if isinstance(expect, str) or not isinstance(expect, Container):
        raise TypeError(f"expect must be a range or set of statuses, not {expect!r}")
