"""The part of a client library's requests, responses and URLs that this package uses."""

from __future__ import annotations

from typing import Any, Protocol


class RequestLike(Protocol):
    """A request."""

    stream: Any

    @property
    def method(self) -> str:
        """In capitals."""
        ...

    @property
    def url(self) -> Any:
        """The library's URL."""
        ...

    @property
    def headers(self) -> Any:
        """The library's headers."""
        ...

    @property
    def extensions(self) -> Any:
        """A mapping."""
        ...


class HasStatus(Protocol):
    """The part of a response that classifiers use."""

    @property
    def status_code(self) -> int:
        """The status."""
        ...


class ResponseLike(HasStatus, Protocol):
    """A response."""

    stream: Any

    @property
    def is_closed(self) -> bool:
        """Whether the body has been read, or never will be."""
        ...

    @property
    def headers(self) -> Any:
        """The library's headers."""
        ...


class URLLike(Protocol):
    """A URL."""

    @property
    def scheme(self) -> str:
        """Lower case."""
        ...

    @property
    def port(self) -> int | None:
        """None for the scheme's default."""
        ...

    @property
    def netloc(self) -> bytes:
        """Host and port, IDNA-encoded, without user info and default port."""
        ...

    @property
    def raw_path(self) -> bytes:
        """Path and query."""
        ...
