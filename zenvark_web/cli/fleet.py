"""Connects a command to the fleet that its arguments select."""

from __future__ import annotations

import argparse
import asyncio
import os
import shlex
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

from .._operators.texts import counted, escaped
from .arguments import NAMESPACE, REDIS
from .commands import CommandError
from .names import unknown

if TYPE_CHECKING:
    from .._operators.overview import Overview
    from ..backends.inspection import Inspector

Look = Callable[["Inspector", int], Awaitable[int]]
"""The work of a command, with the number of shards; returns the exit code."""

NO_URL = (
    f"no Redis URL: pass --redis redis://HOST:6379/0, or set {REDIS} to the URL of the fleet's "
    "coordinators"
)

NOTHING = (
    "{server} holds no keys of namespace {namespace!r}. Check --namespace, and the host and "
    "database number in the URL, against the fleet's coordinators. (The keys of a fleet expire a "
    "day after its last instance has stopped.)"
)

OTHER_SHARDS = (
    "namespace {namespace!r} has {found}, not {given}: omit --shards, or pass --shards {shards}"
)

ADVICE = {
    "unreachable": "Check the host and port in the URL, and that the server runs and accepts "
    "connections from this host",
    "no_primary": "Check the addresses of the Sentinels, the name of the service in the URL "
    "(SENTINEL MASTERS lists them), and whether the Sentinels need ?sentinel_password=",
    "silent": "Check whether the server hangs, or a firewall drops the packets",
    "tls": "Use rediss:// only if the server expects TLS; ?ssl_ca_certs=FILE in the URL selects "
    "the trusted authority",
    "login": "Put user and password into the URL, redis://USER:PASSWORD@HOST:6379/0, with "
    "percent-encoded special characters",
    "forbidden": "Use the instances' user, or grant the same permissions (`zenvark-web doctor` "
    "lists missing ones); check that --namespace is among that user's key patterns",
    "wrong_type": "Another application has written this key: run `zenvark-web doctor`, which "
    "lists all such keys",
    "unready": "Wait until the server has loaded its data, its primary is back, or the cluster "
    "serves all slots",
    "read_only": "Pass the URL of the primary",
    "no_database": "The URL ends with the number of a database that this server does not have: "
    "copy the URL of the fleet's coordinators. Most servers have databases 0 to 15 (CONFIG GET "
    "databases), a cluster only 0",
    "other": "Check that the server is Redis 6.2 or later, or Valkey",
}


def look(arguments: argparse.Namespace, act: Look) -> int:
    """Run the work of a command with the selected fleet.

    Raises:
        CommandError: The fleet does not exist, or the server does not reply.
    """

    async def found(inspector: Inspector) -> int:
        return await act(inspector, await _shards(inspector, arguments.shards))

    return look_at_server(arguments, found)


def look_at_server(
    arguments: argparse.Namespace, act: Callable[[Inspector], Awaitable[int]]
) -> int:
    """Run the work of a command with the selected server, even if it holds no fleet."""
    from ..backends.asking import InspectionError
    from ..backends.inspection import Inspector

    if not arguments.redis:
        raise CommandError(NO_URL)
    try:
        inspector = Inspector(arguments.redis, getattr(arguments, "namespace", "default"))
    except ValueError as error:
        raise CommandError(f"{error}") from None

    async def run() -> int:
        async with inspector:
            return await act(inspector)

    try:
        return asyncio.run(run())
    except InspectionError as error:
        raise CommandError(told(error, inspector)) from None


def told(error: Exception, inspector: Inspector) -> str:
    """Return the message for a failed command, with a remedy."""
    advice = ADVICE[getattr(error, "trouble", "other")]
    return f"{inspector.server!r}: {escaped(str(error)).rstrip('.')}. {advice}"


async def overview_of(inspector: Inspector, shards: int) -> Overview:
    """Read the fleet."""
    from .._operators.overview import Overview

    views = await inspector.views(shards)
    return Overview(
        namespace=inspector.namespace,
        server=repr(inspector.server),
        views=views.found,
        unread=views.unread,
    )


async def unknown_in(inspector: Inspector, shards: int, name: str) -> str:
    """Return the message for the name of a circuit that the fleet does not know."""
    known = [each.name for each in (await overview_of(inspector, shards)).unsorted]
    return unknown(name, inspector.namespace, known)


def command(arguments: argparse.Namespace, *words: str) -> str:
    """Return a further command for the same fleet, to be pasted into a shell.

    It repeats the fleet as it was given to this command. A URL with a password is not repeated: a
    terminal's output is copied into tickets.
    """
    repeated = ["zenvark-web", *words]
    if arguments.redis and arguments.redis != os.environ.get(REDIS):
        repeated += ["--redis", _without_password(arguments.redis)]
    if arguments.namespace != os.environ.get(NAMESPACE, "default"):
        repeated += ["--namespace", arguments.namespace]
    return shlex.join(repeated)


def _without_password(url: str) -> str:
    scheme, mark, rest = url.partition("://")
    return f"{scheme}{mark}USER:PASSWORD@{rest.rpartition('@')[2]}" if "@" in rest else url


async def _shards(inspector: Inspector, given: int | None) -> int:
    found = (await inspector.layout()).shards
    facts = {"namespace": inspector.namespace, "server": inspector.server}
    if found == 0:
        raise CommandError(NOTHING.format(**facts))
    if given not in {None, found}:
        number = counted(found, "shard")
        raise CommandError(OTHER_SHARDS.format(**facts, found=number, given=given, shards=found))
    return found
