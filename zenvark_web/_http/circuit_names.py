"""Names of circuits, made from what a request says."""

from __future__ import annotations

import hashlib
from collections import OrderedDict

from .._core._checks import MAX_NAME_LENGTH
from .protocols import URLLike

MAX_CACHED_HOSTS = 4_096
MAX_HOST = 255
"""No longer name exists in DNS (RFC 1035, section 2.3.4), so none is remembered."""


_names: OrderedDict[bytes, str] = OrderedDict()


def host_name(url: URLLike) -> str | None:
    """The default circuit of a URL: its host, with the port when that is not the scheme's
    default. None if it has no host."""
    netloc = url.netloc
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


def header_name(url: URLLike, value: str | None) -> str | None:
    """The circuit of a host and the value of a header: both, with `#` between them."""
    host = host_name(url)
    return host if host is None or not value else fitting_name(f"{host}#{value}")


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
    digest = hashlib.sha256(name.encode("utf-8", "surrogatepass")).hexdigest()[:16]
    shown = "".join(character for character in name[:200] if character.isprintable())
    return f"{shown}~{digest}"
