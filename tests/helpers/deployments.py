"""Servers as people run them: watched by a Sentinel, in a cluster of several nodes, behind TLS."""

import shutil
import ssl
import subprocess
from contextlib import ExitStack
from pathlib import Path
from typing import Self

from redis.crc import key_slot

from tests.helpers.children import Child
from tests.helpers.ports import HOST
from tests.helpers.servers import RedisServer
from tests.helpers.waiting import eventually_sync

PRIMARY = "zenvark"
"""What Sentinel calls the server it watches."""

_SLOTS = 16384


class SentinelServer(RedisServer):
    """A Sentinel that promotes the replica soon after its primary falls silent."""

    def __init__(self, primary: RedisServer) -> None:
        self._primary = primary
        super().__init__()

    def promoted(self) -> bool:
        """Whether another server is the primary now."""
        address = self.command("SENTINEL", "GET-MASTER-ADDR-BY-NAME", PRIMARY)
        return int(address[1]) != self._primary.port

    def _spawn(self) -> Child:
        settings = {
            "port": self.port,
            "bind": HOST,
            "dir": self.directory,
            "logfile": "server.log",
            "sentinel monitor": f"{PRIMARY} {HOST} {self._primary.port} 1",
            "sentinel down-after-milliseconds": f"{PRIMARY} 500",
            "sentinel failover-timeout": f"{PRIMARY} 3000",
        }
        if self._primary.password:
            settings["sentinel auth-pass"] = f"{PRIMARY} {self._primary.password}"
        file = self.directory / "sentinel.conf"
        file.write_text("".join(f"{name} {value}\n" for name, value in settings.items()))
        return Child([self.binary.path, file, "--sentinel"], cwd=self.directory)

    def _join_others(self) -> None:
        eventually_sync(
            lambda: self.command("SENTINEL", "REPLICAS", PRIMARY),
            what="a Sentinel that knows the replica",
        )


class _Node(RedisServer):
    """A node that joins no cluster by itself."""

    def __init__(self) -> None:
        # One node's trouble is to be that of its slots only.
        super().__init__(
            cluster=True,
            config={"cluster-node-timeout": "1000", "cluster-require-full-coverage": "no"},
        )

    def _join_others(self) -> None:
        pass


class Cluster:
    """Three nodes with a third of the slots each, and a replica of the first."""

    def __enter__(self) -> Self:
        with ExitStack() as nodes:
            self.nodes = [nodes.enter_context(_Node()) for _ in range(3)]
            self.replica = nodes.enter_context(_Node())
            self._form()
            self._exit = nodes.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._exit.close()

    def node_of(self, key: str) -> RedisServer:
        """The node that keeps a key (as long as none was promoted)."""
        return self.nodes[key_slot(key.encode()) * 3 // _SLOTS]

    def settled(self) -> bool:
        """Whether all nodes that run see each other, and all slots are served."""
        running = [node for node in self._all if node.running]
        return all(
            "cluster_state:ok" in str(node.command("CLUSTER", "INFO"))
            and str(node.command("CLUSTER", "NODES")).count(" connected") == len(self._all)
            for node in running
        )

    @property
    def _all(self) -> list[RedisServer]:
        return [*self.nodes, self.replica]

    def _form(self) -> None:
        first = self.nodes[0]
        for number, node in enumerate(self.nodes):
            slots = [slot for slot in range(_SLOTS) if slot * 3 // _SLOTS == number]
            node.command("CLUSTER", "ADDSLOTS", *slots)
            node.command("CLUSTER", "SET-CONFIG-EPOCH", number + 1)
        for node in self._all[1:]:
            node.command("CLUSTER", "MEET", HOST, first.port)
        eventually_sync(self.settled, what="a cluster")
        self.replica.command("CLUSTER", "REPLICATE", str(first.command("CLUSTER", "MYID")))
        eventually_sync(
            lambda: self.replica.info("replication").get("master_link_status") == "up",
            what="a replica that has caught up",
        )


class Certificate:
    """A certificate for this host, signed by itself, made anew in a directory."""

    def __init__(self, directory: Path) -> None:
        openssl = shutil.which("openssl")
        if openssl is None:
            raise RuntimeError("The tests with TLS need the program openssl")
        self.path, key = directory / "certificate.pem", directory / "key.pem"
        subprocess.run(
            [
                *(openssl, "req", "-x509", "-nodes", "-days", "2", "-subj", "/CN=test"),
                *("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"),
                *("-addext", f"subjectAltName=IP:{HOST}", "-keyout", key, "-out", self.path),
            ],
            check=True,
            capture_output=True,
        )
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.load_cert_chain(self.path, key)
