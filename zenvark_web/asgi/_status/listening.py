"""Whether the server of a request still accepts connections.

A server that stops closes its listening socket, waits for the responses that are under way, and
only then tells the app, by the end of the lifespan. A response without an end would hold it up. So
a stream looks whether this process still has the listening socket that its connection came to, and
ends when it is closed. This works with any server that accepts in this process, and needs nothing
of it.
"""

from __future__ import annotations

import os
import socket
import stat
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

DESCRIPTORS = Path("/dev/fd")
MAX_DESCRIPTORS = 4_096
"""The most open files to look at. A process with more ends its streams by their age."""

FAMILIES = {socket.AF_INET, socket.AF_INET6}


class Listener(NamedTuple):
    """A listening socket of this process.

    Args:
        descriptor: Its file descriptor.
        identity: The device and inode, which no other socket has.
    """

    descriptor: int
    identity: tuple[int, int]

    @property
    def is_open(self) -> bool:
        """Whether the socket is still open."""
        with suppress(OSError):
            return _identity(os.fstat(self.descriptor)) == self.identity
        return False


def listener_of(scope: Mapping[str, Any]) -> Listener | None:
    """Return the listening socket that the connection of a request came to; None if this process
    has none: the server accepts elsewhere, or there is no server."""
    server = scope.get("server")
    port = server[1] if server else None
    try:
        descriptors = [int(each.name) for each in DESCRIPTORS.iterdir() if each.name.isdecimal()]
    except OSError:  # another system
        return None
    for descriptor in descriptors[:MAX_DESCRIPTORS]:
        with suppress(OSError):
            status = os.fstat(descriptor)
            is_socket = stat.S_ISSOCK(status.st_mode) and not os.get_blocking(descriptor)
            if is_socket and _listens(descriptor, port):
                return Listener(descriptor, _identity(status))
    return None


def _identity(status: os.stat_result) -> tuple[int, int]:
    return status.st_dev, status.st_ino


def _listens(descriptor: int, port: int | None) -> bool:
    """Return whether a socket listens on a TCP port or, without one, on a path."""
    each = socket.socket(fileno=descriptor)
    try:
        if not each.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
            return False
        if each.family in FAMILIES:
            return bool(each.getsockname()[1] == port)
        return port is None
    finally:
        each.detach()  # it is the server's
