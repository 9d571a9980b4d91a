"""Ports on the loopback that stay their server's while it is down."""

import socket
import sys

HOST = "127.0.0.1"


class Port:
    """A free port, kept for one server also while that server is down.

    Whoever knocks meanwhile is refused.

    Args:
        highest: The highest number that will do.
    """

    def __init__(self, *, highest: int = 65535) -> None:
        self._highest = highest
        self._take()

    def move(self) -> None:
        """Take another one, and leave this one to anybody."""
        before = self._held
        self._take()
        before.close()

    def _take(self) -> None:
        while (held := _bound_socket()).getsockname()[1] > self._highest:
            held.close()
        self.number: int = held.getsockname()[1]
        # Linux lets a server listen where we are merely bound, and gives the port to nobody
        # else, not even to a client that knocks at it and could end up talking to itself.
        self._held = held
        if sys.platform != "linux":
            held.close()

    def release(self) -> None:
        """Leave it to anybody."""
        self._held.close()


def _bound_socket() -> socket.socket:
    bound = socket.socket()
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    bound.bind((HOST, 0))
    return bound
