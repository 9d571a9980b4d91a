"""What a namespace holds in Redis, read from outside."""

from collections import Counter
from typing import Any

from tests.helpers.servers import ServerHandle
from zenvark_web._core.states import CircuitSnapshot, Transition
from zenvark_web.backends import _decoding


class Store:
    """The keys of one namespace.

    Args:
        server: Where they are.
        namespace: Whose they are.
    """

    def __init__(self, server: ServerHandle, namespace: str) -> None:
        self._server = server
        self._prefix = f"zenvark:{{{namespace}}}:"

    def leader(self) -> str | None:
        """The instance that holds the lease."""
        lease = self._ask("GET", "leader")
        return str(lease).partition(":")[2] if lease else None

    def put_lease(self, epoch: int, instance: str) -> None:
        """Have that instance hold it, as an older copy of the store may say."""
        self._ask("SET", "leader", f"{epoch}:{instance}", "PX", "60000")

    def epoch(self) -> int:
        return int(self._ask("GET", "epoch") or 0)

    def circuits(self) -> dict[str, Transition]:
        """The snapshot that a newcomer starts from."""
        stored = self._ask("HGETALL", "circuits")
        return {name: _decoding.decode_transition(text) for name, text in stored.items()}

    def snapshots(self) -> dict[str, CircuitSnapshot]:
        """What a new leader would go on from."""
        stored = self._ask("HGETALL", "tallies")
        return {name: _decoding.decode_snapshot(text) for name, text in stored.items() if name}

    def notified(self) -> str | None:
        """The position up to which leaders have called `on_published`."""
        position: str | None = self._ask("GET", "notified")
        return position

    def lose_results(self) -> None:
        """Trim all of them."""
        self._ask("XTRIM", "results", "MAXLEN", "0")

    def hold_time_stamps(self, seconds: float) -> None:
        """Have those of results stand still, as if the clock had been set back by so much."""
        now, _ = self._server.command("TIME")
        self._ask("XSETID", "results", f"{int((int(now) + seconds) * 1000)}-0")

    def transitions(self, circuit: str) -> list[Transition]:
        """What was broadcast of a circuit, in order."""
        entries = (_decoding.decode_state_entry(fields) for fields in self._entries("states"))
        return [
            entry for entry in entries if isinstance(entry, Transition) and entry.circuit == circuit
        ]

    def reported(self, circuit: str, *, repeated: bool = False) -> Counter[str]:
        """The results that instances have sent: "successes" and "failures".

        Args:
            circuit: Of which circuit.
            repeated: Those that were sent again, too: a busy host may answer too late.
        """
        counts: Counter[str] = Counter()
        batches = [_decoding.decode_batch(entry) for entry in self._entries("results")]
        once = {(batch.instance, batch.number): batch for batch in batches}
        for batch in batches if repeated else once.values():
            for report in batch.reports:
                if report.circuit == circuit:
                    for run in report.runs:
                        counts["failures" if run.failed else "successes"] += run.count
        return counts

    def overdue(self, instance: str) -> list[int]:
        """The numbers of calls in flight for too long that an instance has told, in order."""
        return [
            report.overdue
            for batch in map(_decoding.decode_batch, self._entries("results"))
            if batch.instance == instance
            for report in batch.reports
        ]

    def age_of_last_entry(self, instance: str) -> float:
        """The seconds since an instance sent something."""
        seconds, micros = self._server.command("TIME")
        sent = [
            batch.sent
            for batch in map(_decoding.decode_batch, self._entries("results"))
            if batch.instance == instance
        ]
        return int(seconds) + int(micros) / 1e6 - sent[-1]

    def _entries(self, stream: str) -> list[dict[str, str]]:
        return [fields for _, fields in self._ask("XRANGE", stream, "-", "+")]

    def _ask(self, command: str, key: str, *arguments: str) -> Any:
        return self._server.command(command, self._prefix + key, *arguments)


def connections(server: ServerHandle) -> int:
    """How many connections instances have to the server."""
    with server.client() as client:
        return sum(other["name"] == "zenvark_web" for other in client.client_list())
