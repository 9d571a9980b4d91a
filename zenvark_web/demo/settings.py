"""What the command line says."""

from __future__ import annotations

from dataclasses import dataclass

from .errors import SetupError

CIRCUIT = "payments"


@dataclass(frozen=True, slots=True, kw_only=True)
class DemoSettings:
    """The demo's settings.

    Args:
        instances: How many apps there are.
        rate: Calls per second to each of them.
        incident: Seconds for which the upstream stays broken.
        redis: A URL, or None for a private server.
        processes: Whether the apps are processes. If not, all run in this one, without a server.
        trial: Whether the circuit recovers by trial calls, and not by a health check.
        kill_leader: Whether the leader is killed during the incident.
        forever: Whether one incident follows another.
        plain_output: Whether to print one line per event, even to a terminal.

    Raises:
        SetupError: They don't go together.
    """

    instances: int = 4
    rate: float = 25.0
    incident: float = 5.0
    redis: str | None = None
    processes: bool = True
    trial: bool = False
    kill_leader: bool = False
    forever: bool = False
    plain_output: bool = False

    def __post_init__(self) -> None:
        if self.kill_leader and not self.processes:
            raise SetupError("--kill-leader needs processes: leave out --no-server")
        if self.kill_leader and (self.instances < 2 or self.forever):
            raise SetupError("--kill-leader needs another instance to go on, and one incident only")
