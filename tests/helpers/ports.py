"""Ports on the loopback that stay their server's while it is down."""

import random
import socket
import sys
from collections.abc import Sequence

HOST = "127.0.0.1"
ANY = (0,)


class Port:
    """A free port, kept for one server also while that server is down.

    Whoever knocks meanwhile is refused.

    Args:
        among: The numbers that will do.

    Raises:
        RuntimeError: None of them is free.
    """

    def __init__(self, *, among: Sequence[int] = ANY) -> None:
        self._among = among
        self._take()

    def move(self) -> None:
        """Take another one, and leave this one to anybody."""
        before = self._held
        self._take()
        before.close()

    def release(self) -> None:
        """Leave it to anybody."""
        self._held.close()

    def _take(self) -> None:
        self._held = _bound_socket(self._among)
        self.number: int = self._held.getsockname()[1]
        if sys.platform != "linux":
            self._held.close()  # a server could not listen where we are bound


def _bound_socket(among: Sequence[int]) -> socket.socket:
    for number in random.sample(among, len(among)):
        bound = socket.socket()
        try:
            bound.bind((HOST, number))
        except OSError:  # somebody has it
            bound.close()
            continue
        # Bound without this option nobody shares it with us. With it from now on, Linux lets a
        # server listen where we are merely bound, and gives the port to nobody else, not even to
        # a client that knocks at it and could end up talking to itself.
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        return bound
    raise RuntimeError(f"no port is free among {among}")
