"""The settings of the demo."""

from __future__ import annotations

from dataclasses import dataclass

from .errors import SetupError

CIRCUIT = "payments"


@dataclass(frozen=True, slots=True, kw_only=True)
class DemoSettings:
    """The settings of the demo.

    Args:
        instances: The number of apps.
        rate: Calls per second to each app.
        incident: The seconds for which the upstream fails.
        redis: A URL, or None for a private server.
        processes: Whether each app has its own process. If not, all run in this process, without
            a server.
        trial: Whether the circuit recovers by trial calls instead of a health check.
        ramp: Whether the circuit recovers through a ramp.
        override: Whether an operator holds the circuit open for a while after the incident.
        kill_leader: Whether to kill the leader during the incident.
        forever: Whether to repeat the incident.
        page: Whether to print the address of the status page.
        plain_output: Whether to print one line per event even to a terminal.

    Raises:
        SetupError: Two settings exclude each other.
    """

    instances: int = 4
    rate: float = 25.0
    incident: float = 5.0
    redis: str | None = None
    processes: bool = True
    trial: bool = False
    ramp: bool = False
    override: bool = False
    kill_leader: bool = False
    forever: bool = False
    page: bool = False
    plain_output: bool = False

    def __post_init__(self) -> None:
        if self.kill_leader and not self.processes:
            raise SetupError("--kill-leader needs app processes: leave out --no-server")
        if self.page and not self.processes:
            raise SetupError("--page needs app processes: leave out --no-server")
        if self.kill_leader and (self.instances < 2 or self.forever):
            raise SetupError("--kill-leader needs --instances 2 or more, and excludes --forever")
