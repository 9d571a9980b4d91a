"""Clients made for URLs: those of redis-py, and those that name Sentinels.

redis-py has no URL for a primary that Sentinels watch. This module reads the form that other
packages (limits, redis-sentinel-url, prefect-redis) have in common:

    redis+sentinel://[user:password@]host[:port][,host[:port]...]/service[/db][?option=value&...]

`rediss+sentinel://` is the same with TLS, for the primary and the Sentinels. User, password and
options are those of the primary, except for `sentinel_username` and `sentinel_password`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, cast
from urllib.parse import unquote, urlsplit

import redis.asyncio
from redis.asyncio.connection import SSLConnection, parse_url
from redis.asyncio.sentinel import Sentinel, SentinelConnectionPool

SUFFIX = "+sentinel"
PLAIN = {"redis+sentinel": "redis", "rediss+sentinel": "rediss"}
"""The schemes, each with that of the primary."""

SENTINEL_PORT = 26379

UNUSABLE = (
    "redis has a setting with which no connection can be made: leave it out or mend it ({error})"
)

_HOST = re.compile(r"(?P<host>\[[0-9A-Fa-f:.]+\]|[^\[\]:,@/?#\s]+)(?::(?P<port>\d{1,5}))?")
_REST = re.compile(r"/(?P<service>[^/?#\s]+)(?:/(?P<db>\d{0,5}))?(?:\?(?P<query>\S*))?")


@dataclass(frozen=True, slots=True)
class _Watched:
    """A primary that Sentinels watch.

    Args:
        sentinels: Hosts and ports.
        service: The name of the primary at the Sentinels.
        place: The URL without credentials and options.
        options: The arguments of a connection to the primary.
        login: User and password for the Sentinels.
    """

    sentinels: tuple[tuple[str, int], ...]
    service: str
    place: str
    options: dict[str, Any] = field(repr=False)
    login: dict[str, Any] = field(repr=False)


def client_of(url: str, **settings: Any) -> redis.asyncio.Redis:
    """Return the client of a URL.

    Args:
        url: The URL.
        settings: Arguments of its connections, unless the URL has others.

    Raises:
        ValueError: The URL or one of its options is invalid.
    """
    if not _names_sentinels(url):
        return redis.asyncio.Redis.from_url(url, **settings)  # pyright: ignore[reportUnknownMemberType]
    watched = _parsed(url)
    options = settings | watched.options
    make: Any = Sentinel
    try:
        sentinel = make(watched.sentinels, sentinel_kwargs=_of_sentinels(watched, options))
    except TypeError as error:
        raise ValueError(UNUSABLE.format(error=f"{type(error).__name__}: {error}")) from None
    return cast(redis.asyncio.Redis, sentinel.master_for(watched.service, **options))


async def close_client(client: redis.asyncio.Redis) -> None:
    """Close all connections of a client, also those to Sentinels."""
    await client.aclose()
    pool: Any = client.connection_pool
    if isinstance(pool, SentinelConnectionPool):
        for each in cast(Any, pool).sentinel_manager.sentinels:
            await each.aclose()


def place_of(url: str) -> str:
    """Return the address in a URL, without credentials and options.

    Raises:
        ValueError: The URL is invalid.
    """
    if _names_sentinels(url):
        return _parsed(url).place
    settings = parse_url(url)
    if "path" in settings:
        return f"unix://{settings['path']}"
    scheme = url.partition("://")[0]
    host, port = settings.get("host", "localhost"), settings.get("port", 6379)
    return f"{scheme}://{host}:{port}/{settings.get('db', 0)}"


def check_database(url: str) -> None:
    """Refuse a URL whose path is no number: redis-py would use database 0 without a word.

    Raises:
        ValueError: The message does not show the path, which may be a part of a password.
    """
    parts = urlsplit(url)
    number = unquote(parts.path).replace("/", "")
    if parts.scheme in PLAIN.values() and number and not number.isdecimal():
        raise ValueError(
            "redis must end with the number of a database, as 'redis://localhost:6379/0' does; "
            "what follows the address is no number (a slash in a password is written as %2F; the "
            "name of a fleet is its namespace)"
        )


def at_address(url: str, host: str, port: int) -> str:
    """Return a URL with another address.

    Args:
        url: The URL of a node of a cluster.
        host: The host of another one; empty for the same host.
        port: The port.
    """
    parts = urlsplit(url)
    login, at, _ = parts.netloc.rpartition("@")
    return parts._replace(
        netloc=f"{login}{at}{_shown((host or parts.hostname or '', port))}"
    ).geturl()


def example_of(url: str) -> str:
    """Return a correct URL of the kind that an incorrect one seems to be."""
    if _names_sentinels(url):
        return "redis+sentinel://sentinel-1,sentinel-2/mymaster/0"
    return "redis://localhost:6379/0"


def _names_sentinels(url: str) -> bool:
    return url.partition("://")[0].endswith(SUFFIX)


def _parsed(url: str) -> _Watched:
    scheme, _, rest = url.partition("://")
    authority, slash, path = rest.partition("/")
    login, at, hosts = authority.rpartition("@")
    found = _REST.fullmatch(f"{slash}{path}")
    if found is None or scheme not in PLAIN:
        raise ValueError("a URL of Sentinels must name the primary: /SERVICE or /SERVICE/DB")
    sentinels = tuple(map(_sentinel, hosts.split(",")))
    db = int(found["db"] or 0)
    plain = f"{PLAIN[scheme]}://{login}{at}primary/{db}?{found['query'] or ''}"
    options: dict[str, Any] = dict(parse_url(plain))
    del options["host"]
    if options.pop("connection_class", None) is SSLConnection:
        options["ssl"] = True
    names = {"username": "sentinel_username", "password": "sentinel_password"}
    return _Watched(
        sentinels=sentinels,
        service=unquote(found["service"]),
        place=f"{scheme}://{','.join(map(_shown, sentinels))}/{found['service']}/{options['db']}",
        options={name: value for name, value in options.items() if name not in names.values()},
        login={name: options[told] for name, told in names.items() if told in options},
    )


def _sentinel(text: str) -> tuple[str, int]:
    found = _HOST.fullmatch(text)
    port = int(found["port"] or SENTINEL_PORT) if found else 0
    if found is None or not 0 < port < 65_536:
        raise ValueError("a URL of Sentinels must list them as HOST:PORT,HOST:PORT")
    return found["host"].strip("[]"), port


def _shown(sentinel: tuple[str, int]) -> str:
    host, port = sentinel
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _of_sentinels(watched: _Watched, options: Mapping[str, Any]) -> dict[str, Any]:
    """Return the arguments of connections to Sentinels.

    They are asked one after another within one command, so each has a part of its time only.
    """
    share = float(options.get("socket_connect_timeout") or 1.0) / (len(watched.sentinels) + 1)
    tls = {name: value for name, value in options.items() if name.startswith("ssl")}
    timeouts = {"socket_timeout": share, "socket_connect_timeout": share}
    return {**tls, **timeouts, **watched.login, "retry": options.get("retry")}
