"""The health check, but for the names of its library."""

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
    """What both libraries' `HttpHealthCheck` do."""

    _module: Any  # the client library

    def __init__(
        self, url: str, *, expect: Container[int] = range(200, 400), timeout: float = 5.0
    ) -> None:
        """Ask a URL.

        Args:
            url: Where to ask. `{name}` in it stands for the circuit's name (a host and perhaps a
                port, with the default mapping), so that one check serves many circuits.
            expect: The statuses that mean well.
            timeout: Seconds for the whole exchange; the connection may take half of them.

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
            ValueError: The circuit's name can't stand in a URL.
        """
        if "{name}" in self._url and not re.fullmatch(r"[A-Za-z0-9._~:\[\]-]+", name):
            raise ValueError(f"the circuit's name {name!r} can't stand in a URL")
        url = self._url.replace("{name}", name)

        async def check(_: HealthCheckType) -> None:
            await self._check(url)

        return check

    async def __call__(self, type_: HealthCheckType) -> None:
        """Ask the URL; for one without `{name}`.

        Raises:
            HTTPError, TimeoutError: There was no answer (the library's error), or not in time.
            HealthCheckError: It had another status.
        """
        await self._check(self._url)

    async def _check(self, url: str) -> None:
        verify = self._verify(url)
        # A TLS handshake ends by this limit, before it is cancelled: httpx closes its socket only
        # then.
        limits = self._module.Timeout(self._timeout, connect=self._timeout / 2)
        async with (
            asyncio.timeout(self._timeout),
            self._module.AsyncClient(verify=verify, timeout=limits) as client,
            client.stream("GET", url) as response,
        ):
            if response.status_code not in self._expect:
                raise HealthCheckError(f"status {response.status_code}")

    def _verify(self, url: str) -> ssl.SSLContext | bool:
        """One TLS context for all checks: making one takes a while."""
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
