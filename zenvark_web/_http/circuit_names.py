"""Names of circuits, made from the host and the headers of a request."""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Callable

from .._core._checks import MAX_NAME_LENGTH
from .protocols import RequestLike, URLLike

MAX_CACHED_HOSTS = 4_096
MAX_HOST = 255
"""No longer name exists in DNS (RFC 1035, section 2.3.4), so none is remembered."""

_names: OrderedDict[bytes, str] = OrderedDict()


def by_host(request: RequestLike) -> str | None:
    """The circuit of a request: its host, with the port if that is not the scheme's default."""
    url: URLLike = request.url
    netloc = url.netloc
    # Cached, because decoding a host would be a large part of a call.
    name = _names.get(netloc)
    if name is None:
        host, port = host_and_port(url)
        if not host:
            return None
        name = fitting_name(f"{host}:{port}" if port else host)
        if len(netloc) <= MAX_HOST:
            _names[netloc] = name
            if len(_names) > MAX_CACHED_HOSTS:
                _names.popitem(last=False)
    return name


def by_header(header: str) -> Callable[[RequestLike], str | None]:
    """Circuits for many tenants behind one host: `circuits=by_header("X-Tenant")`.

    The circuit of a request is its host and the value of the header, such as
    `api.example.com#acme`; without the header it is its host.
    """

    def by_host_and_header(request: RequestLike) -> str | None:
        host, value = by_host(request), request.headers.get(header)
        return fitting_name(f"{host}#{value}") if host and value else host

    return by_host_and_header


def host_and_port(url: URLLike) -> tuple[str, int | None]:
    """The host in lower case (the letters of IPv6 may be capitals), without the dot that ends a
    fully qualified name; and a port that is not the default."""
    host, port = url.netloc.decode("ascii", "replace").lower(), url.port
    if port is not None:
        host = host.removesuffix(f":{port}")
    return host.removesuffix("."), port


def fitting_name(name: str) -> str:
    """A circuit's name of bounded length and printable characters for a text of any kind."""
    if len(name) <= MAX_NAME_LENGTH and name.isprintable():
        return name
    # Texts that differ beyond the cut must not share a circuit.
    digest = hashlib.sha256(name.encode("utf-8", "surrogatepass")).hexdigest()[:16]
    shown = "".join(character for character in name[:200] if character.isprintable())
    return f"{shown}~{digest}"
