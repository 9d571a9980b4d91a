"""Faults: what may befall a simulated fleet, and schedules of them."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from enum import Enum
from functools import partial
from typing import TypeAlias

from ..._circuits.shard import shard_of
from ..._core.overrides import Override, OverrideRequest
from ...backends.base import Probe
from ...exceptions import ZenvarkError
from .._network import Server
from .hosts import Hosts, SimulatedHost
from .settings import SimulationSettings
from .world import ColdUpstream

COLD_BEARS = 0.3
COLD_FOR = 7.5
"""The share of the usual calls that a cold upstream bears, and the seconds of usual calls that it
must have served to bear all."""

LONGEST_FAULT = 20.0
LONGEST_CLOCK_JUMP = 60.0
WORST_RATE = 0.1
BAD_NETWORK = 0.3

MODES = tuple(Override)
TRIES_NOW = 0.8
"""The amount above which an operator wants an attempt to recover."""


class FaultKind(Enum):
    """What happens. Most have an end, when a fault's time is over."""

    UPSTREAM_CHANGES = "upstream changes"
    """A circuit's upstream goes down, or is well again; it stays so."""
    UPSTREAM_FAILS = "upstream fails"
    """A circuit's upstream is down for a while."""
    UPSTREAM_COMES_BACK_COLD = "upstream comes back cold"
    """A circuit's upstream is down for a while, and then bears a part of the usual calls until it
    has served many. (Not chosen by seeds: a fleet without a ramp may never agree.)"""
    SERVER_IS_DOWN = "server is down"
    """A server refuses commands."""
    SERVER_HANGS = "server hangs"
    """A server keeps commands waiting."""
    SERVER_LOSES_ALL = "server loses all"
    """A server restarts empty, at once."""
    NEWCOMER_LEADS = "newcomer leads"
    """A server loses all, and the first to lead is a process that has just started; the others
    cannot ask for a while."""
    SERVER_COMES_BACK_OLD = "server comes back old"
    """A server restarts at the end of the fault, with its content from the beginning of the fault.
    """
    SERVER_CLOCK_JUMPS = "server clock jumps"
    """A server's clock goes ahead, or falls back."""
    HOST_IS_CUT_OFF = "host is cut off"
    """No message gets through."""
    HOST_CANNOT_ASK = "host cannot ask"
    """Requests of a host do not arrive."""
    HOST_EGRESS_IS_BROKEN = "host egress is broken"
    """Calls and health checks of a host reach no upstream, but its requests reach the servers."""
    HOST_HEARS_NOTHING = "host hears nothing"
    """Requests of a host are executed, but no reply arrives."""
    NETWORK_IS_BAD = "network is bad"
    """All hosts' messages are late, lost, repeated and out of order."""
    HOST_SLEEPS = "host sleeps"
    """A host is frozen."""
    HOST_DIES = "host dies"
    """A host is gone; another one starts in its place."""
    PROCESS_RESTARTS = "process restarts"
    """A process is stopped as it should be, and another one starts."""
    HOST_CLOCK_JUMPS = "host clock jumps"
    """A host's clock goes ahead, as after a suspension."""
    HOST_CLOCK_DRIFTS = "host clock drifts"
    """A host's clock runs too fast or too slow."""
    OPERATOR_DECIDES = "operator decides"
    """An operator overrides the verdict on a circuit, or on all of a shard, or wants an attempt to
    recover now. An override that holds circuits open ends, or is lifted; any other may stay."""


@dataclass(frozen=True, repr=False)
class Fault:
    """A fault at a given time.

    Args:
        at: Seconds after the start of the fleet.
        kind: The kind of fault.
        target: The number of the host, server or circuit, modulo their number. Negative: the host
            that leads, if there is one.
        lasts: Seconds until the fault ends, for faults that end.
        amount: From -1 to 1: the size of a clock error.
    """

    at: float
    kind: FaultKind
    target: int = 0
    lasts: float = 0.0
    amount: float = 0.0

    def __repr__(self) -> str:
        return f"Fault({self.at:g}, {self.kind}, {self.target}, {self.lasts:g}, {self.amount:g})"


def schedule_of(seed: int, settings: SimulationSettings) -> Sequence[Fault]:
    """The faults that a seed chooses."""
    chance = random.Random(f"faults {seed}")
    faults: list[Fault] = []
    at = chance.expovariate(1) if settings.faults else settings.seconds
    while at < settings.seconds:
        # Leaders are few, and upstreams are what all is about.
        kind: FaultKind = chance.choice(
            [*_CHOSEN, FaultKind.UPSTREAM_CHANGES, FaultKind.UPSTREAM_FAILS]
        )
        target = chance.choice((-1, chance.randrange(1000)))
        lasts = chance.uniform(0, LONGEST_FAULT)
        amount = chance.uniform(-1, 1)
        if kind is FaultKind.SERVER_LOSES_ALL and amount > 0:
            kind = FaultKind.NEWCOMER_LEADS
        if kind is FaultKind.HOST_CANNOT_ASK and amount > 0:
            kind = FaultKind.HOST_EGRESS_IS_BROKEN
        faults.append(Fault(round(at, 3), kind, target, round(lasts, 3), amount))
        at += chance.expovariate(settings.faults / 60)
    return faults


_CHOSEN: Sequence[FaultKind] = [
    kind
    for kind in FaultKind
    if kind
    not in {
        FaultKind.NEWCOMER_LEADS,
        FaultKind.UPSTREAM_COMES_BACK_COLD,
        FaultKind.HOST_EGRESS_IS_BROKEN,
    }
]
"""A newcomer leads after every second loss of all, and every second host that cannot ask cannot
reach upstreams instead."""

End: TypeAlias = Callable[[], object] | None
"""What puts a fault right."""


def happen(hosts: Hosts, fault: Fault) -> End:
    """Have a fault happen to hosts or their world; gives back what puts it right, if anything
    has to."""
    return _HAPPEN[fault.kind](hosts, fault)


def _upstream_changes(hosts: Hosts, fault: Fault) -> End:
    world = hosts.world
    circuit = world.circuits[fault.target % len(world.circuits)]
    world.down ^= {circuit}
    world.tell(circuit, f"upstream is {'down' if circuit in world.down else 'well'}")
    return None


def _upstream_fails(hosts: Hosts, fault: Fault) -> End:
    world = hosts.world
    circuit = world.circuits[fault.target % len(world.circuits)]
    if circuit in world.down:
        return None
    world.down.add(circuit)
    return partial(world.down.discard, circuit)


def _upstream_comes_back_cold(hosts: Hosts, fault: Fault) -> End:
    world, settings = hosts.world, hosts.world.settings
    circuit = world.circuits[fault.target % len(world.circuits)]
    demand = settings.calls * settings.instances / settings.circuits
    world.down.add(circuit)
    world.cold[circuit] = ColdUpstream(COLD_BEARS * demand, COLD_FOR * demand)
    return partial(world.down.discard, circuit)


def _server_is_down(hosts: Hosts, fault: Fault) -> End:
    server = _server(hosts, fault)
    server.up = False
    return partial(setattr, server, "up", True)


def _server_hangs(hosts: Hosts, fault: Fault) -> End:
    server = _server(hosts, fault)
    server.hangs = True
    return server.resume


def _server_loses_all(hosts: Hosts, fault: Fault) -> End:
    _server(hosts, fault).restart(empty=True)
    return None


def _newcomer_leads(hosts: Hosts, fault: Fault) -> End:
    newcomer = _in_place_of(hosts, _host(hosts, fault))
    ways = [host.way for host in hosts.present if host is not newcomer]
    for way in ways:
        way.requests = False
    _server(hosts, fault).restart(empty=True)

    def heal() -> None:
        for way in ways:
            way.heal()

    return heal


def _server_comes_back_old(hosts: Hosts, fault: Fault) -> End:
    server = _server(hosts, fault)
    server.save()
    return partial(server.restart, empty=False)


def _server_clock_jumps(hosts: Hosts, fault: Fault) -> End:
    _server(hosts, fault).ahead += fault.amount * LONGEST_CLOCK_JUMP
    hosts.world.clocks_set_at = hosts.world.loop.now
    return None


def _host_is_cut_off(hosts: Hosts, fault: Fault) -> End:
    way = _host(hosts, fault).way
    way.requests = way.replies = False
    return way.heal


def _host_cannot_ask(hosts: Hosts, fault: Fault) -> End:
    way = _host(hosts, fault).way
    way.requests = False
    return way.heal


def _host_hears_nothing(hosts: Hosts, fault: Fault) -> End:
    way = _host(hosts, fault).way
    way.replies = False
    return way.heal


def _host_egress_is_broken(hosts: Hosts, fault: Fault) -> End:
    host = _host(hosts, fault)
    host.egress = False
    return partial(setattr, host, "egress", True)


def _network_is_bad(hosts: Hosts, fault: Fault) -> End:
    ways = [host.way for host in hosts.present]
    for way in ways:
        way.trouble = BAD_NETWORK

    def heal() -> None:
        for way in ways:
            way.heal()

    return heal


def _host_sleeps(hosts: Hosts, fault: Fault) -> End:
    host = _host(hosts, fault)
    host.paused = True
    return host.wake_up


def _host_dies(hosts: Hosts, fault: Fault) -> End:
    _in_place_of(hosts, _host(hosts, fault))
    return None


def _in_place_of(hosts: Hosts, host: SimulatedHost) -> SimulatedHost:
    host.alive = False
    return hosts.replace(host)


def _process_restarts(hosts: Hosts, fault: Fault) -> End:
    host = _host(hosts, fault)
    host.wake_up()
    host.spawn(host.stop())
    hosts.replace(host)
    return None


def _host_clock_jumps(hosts: Hosts, fault: Fault) -> End:
    _host(hosts, fault).clock_jumps(abs(fault.amount) * LONGEST_CLOCK_JUMP)
    hosts.world.clocks_set_at = hosts.world.loop.now
    return None


def _host_clock_drifts(hosts: Hosts, fault: Fault) -> End:
    host = _host(hosts, fault)
    before = host.rate

    def set_rate(rate: float) -> None:
        hosts.world.clocks_set_at = hosts.world.loop.now
        host.clock_runs(rate)

    set_rate(1 + fault.amount * WORST_RATE)
    return partial(set_rate, before)


def _operator_decides(hosts: Hosts, fault: Fault) -> End:
    world = hosts.world
    circuit = world.circuits[fault.target % len(world.circuits)]
    server = world.servers[shard_of(circuit, len(world.servers))]
    if fault.amount > TRIES_NOW:
        probe = Probe(circuit, "operator", "a fault")
        server.take(lambda: server.store.probe(probe))
        return None
    mode = MODES[int((fault.amount + 1) * len(MODES)) % len(MODES)]
    name = "*" if fault.target % 4 == 1 else circuit
    forced = mode is Override.FORCE_OPEN
    if forced:
        world.touched |= set(world.circuits)
    expires_in = 1 + 2 * fault.lasts if forced else 3600.0
    _override(hosts, server, name, mode, expires_in)
    is_lifted = int(fault.amount * 1000) % 2 == 0
    return partial(_override, hosts, server, name, None, None) if is_lifted else None


def _override(
    hosts: Hosts, server: Server, name: str, mode: Override | None, expires_in: float | None
) -> None:
    """Ask a server for an override, or to lift one, as an operator does: nothing happens while it
    is down."""
    world = hosts.world
    request = OverrideRequest(
        circuit=name, mode=mode, reason="a fault", actor="operator", expires_in=expires_in
    )

    def command() -> None:
        with suppress(ZenvarkError):
            record = server.store.override(request, 0)
            lasts = float("inf") if expires_in is None else expires_in
            world.overrides[record.number] = world.loop.now, world.loop.now + lasts

    server.take(command)


def _server(hosts: Hosts, fault: Fault) -> Server:
    return hosts.world.servers[fault.target % len(hosts.world.servers)]


def _host(hosts: Hosts, fault: Fault) -> SimulatedHost:
    leaders = [host for host in hosts.present if host.leads()] if fault.target < 0 else []
    return (leaders or hosts.present)[fault.target % len(leaders or hosts.present)]


_HAPPEN: Mapping[FaultKind, Callable[[Hosts, Fault], End]] = {
    FaultKind.UPSTREAM_CHANGES: _upstream_changes,
    FaultKind.UPSTREAM_FAILS: _upstream_fails,
    FaultKind.UPSTREAM_COMES_BACK_COLD: _upstream_comes_back_cold,
    FaultKind.SERVER_IS_DOWN: _server_is_down,
    FaultKind.SERVER_HANGS: _server_hangs,
    FaultKind.SERVER_LOSES_ALL: _server_loses_all,
    FaultKind.NEWCOMER_LEADS: _newcomer_leads,
    FaultKind.SERVER_COMES_BACK_OLD: _server_comes_back_old,
    FaultKind.SERVER_CLOCK_JUMPS: _server_clock_jumps,
    FaultKind.HOST_IS_CUT_OFF: _host_is_cut_off,
    FaultKind.HOST_CANNOT_ASK: _host_cannot_ask,
    FaultKind.HOST_HEARS_NOTHING: _host_hears_nothing,
    FaultKind.HOST_EGRESS_IS_BROKEN: _host_egress_is_broken,
    FaultKind.NETWORK_IS_BAD: _network_is_bad,
    FaultKind.HOST_SLEEPS: _host_sleeps,
    FaultKind.HOST_DIES: _host_dies,
    FaultKind.PROCESS_RESTARTS: _process_restarts,
    FaultKind.HOST_CLOCK_JUMPS: _host_clock_jumps,
    FaultKind.HOST_CLOCK_DRIFTS: _host_clock_drifts,
    FaultKind.OPERATOR_DECIDES: _operator_decides,
}
