"""The checks of `doctor`: pure functions of the facts."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from difflib import unified_diff

from .._operators.texts import counted, duration, escaped, ignoring, operated
from ..backends.examination import Facts, Sample
from ..backends.views import SILENCE, SeenInstance, protections
from .findings import Finding, Level
from .fleet import ADVICE

OLDEST = (6, 2)
SLOW = 0.1
"""The round trip, in seconds, above which docs/deployment.md recommends a closer server."""

JUMP = 0.1
AHEAD = 1.0
DAY = 86_400.0
FULL = 0.9
"""The share of used memory above which a server counts as full."""

NAMED = 5
MOST_LINES = 40
"""The most lines of a diff."""

LONG_SUSPECT = 120.0
"""Seconds after which a suspect is a problem: its own calls have failed again and again."""

Check = Callable[[Facts], Iterable[Finding]]


def findings(facts: Facts, *, shards: int | None = None) -> list[Finding]:
    """Return the findings of all checks.

    Args:
        facts: The facts.
        shards: The expected number of shards, if there is one.
    """
    found = [finding for check in CHECKS for finding in check(facts)]
    if shards is not None and shards != facts.layout.shards:
        text = f"the fleet has {counted(facts.layout.shards, 'shard')}, not {shards}"
        advice = "Start all instances with the expected number, or correct --shards."
        found.append(Finding(Level.PROBLEM, "shards", text, advice))
    return found


def server_version(facts: Facts) -> Iterable[Finding]:
    """Check the version of the server."""
    if facts.info is None:
        yield _unseen("server", "the version, memory and role")
        return
    valkey = facts.info.get("valkey_version")
    told = str(valkey or facts.info.get("redis_version", ""))
    name = f"{'Valkey' if valkey else 'Redis'} {escaped(told, 40)}"
    if not valkey and _version(told) < OLDEST:
        advice = "Upgrade to Redis 6.2 or later, or to Valkey."
        yield Finding(Level.PROBLEM, "server", f"{name} is too old", advice)
    else:
        yield Finding(Level.OK, "server", name)


def server_role(facts: Facts) -> Iterable[Finding]:
    """Check that the server is a primary."""
    if (facts.info or {}).get("role") in {"slave", "replica"}:
        advice = "Configure the instances with the URL of the primary, or with a Sentinel client."
        yield Finding(
            Level.PROBLEM, "role", "the server is a replica, which refuses writes", advice
        )


def memory(facts: Facts) -> Iterable[Finding]:
    """Check that the server does not evict keys, and has free memory."""
    if facts.info is None:
        return
    policy = str(facts.info.get("maxmemory_policy", "unknown"))
    limit, used = (_whole(facts.info.get(name)) for name in ("maxmemory", "used_memory"))
    if policy not in {"noeviction", "unknown"}:
        text = f"maxmemory-policy is {escaped(policy, 40)}"
        advice = (
            "Run CONFIG SET maxmemory-policy noeviction, and set it in the server's configuration."
        )
        if limit:
            text += ": a full server evicts results, states and the lease"
            yield Finding(Level.PROBLEM, "memory", text, advice)
        else:
            yield Finding(
                Level.NOTE, "memory", f"{text}, without effect while maxmemory is 0", advice
            )
    elif limit and used > FULL * limit:
        text = f"{used / limit:.0%} of maxmemory is in use: a full server refuses results"
        yield Finding(Level.PROBLEM, "memory", text, "Raise maxmemory, or remove other data.")
    else:
        yield Finding(Level.OK, "memory", f"maxmemory-policy is {escaped(policy, 40)}")


def permissions(facts: Facts) -> Iterable[Finding]:
    """Check the permissions that an instance needs."""
    if not facts.refused:
        yield Finding(Level.OK, "permissions", "this user can run all commands and scripts")
        return
    scripts = sorted({script for each in facts.refused.values() for script in each})
    text = f"this user lacks {', '.join(facts.refused)}"
    if scripts:
        text += f", needed by the scripts {', '.join(scripts)}"
    grants = " ".join(f"+{name.lower().replace(' ', '|')}" for name in facts.refused)
    advice = f"If the instances use this user: ACL SETUSER <user> {grants}"
    yield Finding(Level.PROBLEM, "permissions", text, advice)


def round_trip(facts: Facts) -> Iterable[Finding]:
    """Check the round trip to the server."""
    if not facts.samples:
        return
    times = sorted(sample.round_trip for sample in facts.samples)
    median = times[len(times) // 2]
    text = f"{duration(median)} from this host (maximum {duration(times[-1])})"
    if median < SLOW:
        yield Finding(Level.OK, "round trip", text)
        return
    advice = (
        "If the instances are as far away, place Redis near them: within 100 ms. Above 200 ms, "
        "instances may fail to connect."
    )
    yield Finding(Level.PROBLEM, "round trip", f"{text}, too slow", advice)


def clock(facts: Facts) -> Iterable[Finding]:
    """Check that the server's clock does not jump."""
    if not facts.samples:
        return
    first, jump = facts.samples[0], max(map(_jump, facts.samples, facts.samples[1:]), default=0.0)
    watched = duration(facts.samples[-1].answered - first.asked)
    if jump > JUMP:
        text = f"the server's clock jumped by {duration(jump)} within {watched}"
        advice = (
            "Configure the server's host to slew its clock instead of stepping it (chrony, ntpd "
            "-x). If the address resolves to several servers, let it resolve to one."
        )
        yield Finding(Level.PROBLEM, "clock", text, advice)
    else:
        yield Finding(Level.OK, "clock", f"no jump within {watched}")


def time_stamps(facts: Facts) -> Iterable[Finding]:
    """Check that no stream is ahead of the server's clock."""
    for shard in facts.shards:
        for key, position in shard.newest.items():
            ahead = position.seconds - shard.now
            if ahead > AHEAD:
                text = f"the newest entry of {escaped(key)} is {duration(ahead)} ahead of the clock"
                yield Finding(Level.PROBLEM, "clock", text, _of_ahead(ahead, key))


def _of_ahead(ahead: float, key: str) -> str:
    if ahead > DAY:
        return f"Another application has written the entry. Delete the stream: DEL '{escaped(key)}'"
    return (
        "The server's clock was set back. The fleet continues; time stamps stand still until the "
        "clock has caught up. Configure the host to slew its clock instead of stepping it."
    )


def keys(facts: Facts) -> Iterable[Finding]:
    """Check the types and contents of the keys."""
    unread = {shard.number: shard.unread for shard in facts.shards if shard.unread is not None}
    for number, error in unread.items():
        text = f"shard {number} is not readable: {escaped(str(error))}"
        yield Finding(Level.PROBLEM, "keys", text, f"{ADVICE[error.trouble.value]}.")
    wrong = {key: error for shard in facts.shards for key, error in shard.wrong.items()}
    for key, error in wrong.items():
        if error.trouble.value == "wrong_type":
            text = f"{escaped(key)} has a wrong type: another application has written it"
            advice = f"Run DEL '{escaped(key)}' (the fleet restores it), and find that application."
            yield Finding(Level.PROBLEM, "keys", text, advice)
        else:
            advice = "Grant the key patterns of docs/deployment.md, section Permissions."
            yield Finding(Level.PROBLEM, "keys", escaped(str(error)), advice)
    views = [shard.view for shard in facts.shards if shard.view is not None]
    if unreadable := sum(view.unreadable for view in views):
        text = f"{counted(unreadable, 'malformed field')} in circuits or instances"
        advice = (
            "Another application, or another version of this package, has written them. Instances "
            "skip each with a MalformedEntryError in their logs, which shows the content."
        )
        yield Finding(Level.PROBLEM, "keys", text, advice)
    if facts.shards and not (unread or wrong or unreadable):
        yield Finding(Level.OK, "keys", f"all keys of {counted(len(views), 'shard')} are readable")


def fleet(facts: Facts) -> Iterable[Finding]:
    """Check that there are instances, and leaders."""
    if facts.unread is not None:
        text = f"not readable: {escaped(str(facts.unread))}"
        advice = "Check --namespace, and grant this user the permissions of an instance."
        yield Finding(Level.PROBLEM, "fleet", text, advice)
        return
    if not facts.layout.shards:
        text = f"Redis holds no keys of namespace '{escaped(facts.namespace)}'"
        advice = "Check --namespace and the database number in the URL, or start an instance."
        yield Finding(Level.PROBLEM, "fleet", text, advice)
        return
    if not any(each.is_alive for each in _instances(facts).values()):
        advice = "Start an instance, or look for BackendError in the logs of running ones."
        yield Finding(Level.PROBLEM, "fleet", "no instance is connected", advice)
        return
    yield from _leaders(facts)


def _leaders(facts: Facts) -> Iterable[Finding]:
    views = [shard.view for shard in facts.shards if shard.view is not None]
    unled = [view.number for view in views if view.lease is None]
    if unled:
        text = f"no leader of shard {', '.join(map(str, unled))}: its circuits keep their states"
        advice = (
            "Repeat the check after a few seconds: an election takes as long as the lease. If "
            "there is still no leader, look for BackendError in the logs of the instances."
        )
        yield Finding(Level.PROBLEM, "fleet", text, advice)
        return
    alive = sum(each.is_alive for each in _instances(facts).values())
    if views:
        led = "a leader" if len(views) == 1 else f"leaders of {len(views)} shards"
        yield Finding(Level.OK, "fleet", f"{counted(alive, 'instance')}, with {led}")


def presences(facts: Facts) -> Iterable[Finding]:
    """Check the heartbeats of the instances."""
    silent = [each for each in _instances(facts).values() if not each.is_alive]
    if silent:
        shown = ", ".join(
            f"{escaped(each.name, 60)} ({duration(each.silence)})" for each in silent[:NAMED]
        )
        text = f"{counted(len(silent), 'instance')} without heartbeats for {SILENCE:g} s: {shown}"
        advice = (
            "These processes were killed, hang, or cannot reach Redis: look at their logs. A "
            "leader removes them within seconds."
        )
        yield Finding(Level.PROBLEM, "instances", text, advice)


def overrides(facts: Facts) -> Iterable[Finding]:
    """Check that every override has an end."""
    views = [shard.view for shard in facts.shards if shard.view is not None]
    endless = {
        each.circuit: (each, view.now - each.at)
        for view in views
        for each in view.overrides
        if each.until is None
    }
    if endless:
        shown = "; ".join(
            f"{escaped(each.circuit, 80)} {operated(each)} ({duration(age)} ago)"
            for each, age in list(endless.values())[:NAMED]
        )
        text = f"{counted(len(endless), 'override')} without an end: {shown}"
        lift = ("lift", escaped(next(iter(endless)), 255), "--reason", "no longer needed")
        advice = "Nothing else ends it: set it again with an end (--for 1h), or lift it:"
        yield Finding(Level.PROBLEM, "overrides", text, advice, command=lift)
    elif total := len({each.circuit for view in views for each in view.overrides}):
        yield Finding(Level.OK, "overrides", f"{counted(total, 'override')}, none without an end")


def ignored_overrides(facts: Facts) -> Iterable[Finding]:
    """Check that all instances know overrides."""
    present = [each for each in _instances(facts).values() if each.is_alive]
    names = [each.name for each in present if not each.follows_overrides]
    if names:
        views = [shard.view for shard in facts.shards if shard.view is not None]
        level = Level.PROBLEM if any(view.overrides for view in views) else Level.NOTE
        yield Finding(level, "overrides", ignoring(names), "Finish the rollout.")


def suspects(facts: Facts) -> Iterable[Finding]:
    """Check that no instance has been a suspect for long."""
    found = [
        (circuit, suspicion, shard.view.now - suspicion.since)
        for shard in facts.shards
        if shard.view is not None
        for circuit, suspicion in shard.view.suspects
    ]
    lasting = [each for each in found if each[2] > LONG_SUSPECT]
    if lasting:
        shown = "; ".join(
            f"{escaped(each.instance, 60)} in {escaped(circuit, 80)} ({duration(age)})"
            for circuit, each, age in lasting[:NAMED]
        )
        text = f"{counted(len(lasting), 'suspect')} for long: {shown}"
        advice = "Check that host's egress, proxy, DNS and configuration, or replace the instance."
        yield Finding(Level.PROBLEM, "suspects", text, advice)
    elif found:
        text = f"{counted(len(found), 'suspect')}, none for long"
        yield Finding(Level.NOTE, "suspects", text, "See zenvark-web status.")


def own_protection(facts: Facts) -> Iterable[Finding]:
    """Check that no instance has protected itself for long."""
    found = [
        (instance, each, shard.view.now - each.since)
        for shard in facts.shards
        if shard.view is not None
        for instance, each in protections(shard.view.instances)
    ]
    lasting = [each for each in found if each[2] > LONG_SUSPECT]
    if lasting:
        shown = "; ".join(
            f"{escaped(instance, 60)} from {escaped(each.circuit, 80)} ({duration(age)})"
            for instance, each, age in lasting[:NAMED]
        )
        text = f"own protection for long: {shown}"
        advice = (
            "Calls of that instance alone fail. Check its egress, proxy, DNS and configuration, or "
            "replace it."
        )
        yield Finding(Level.PROBLEM, "own protection", text, advice)
    elif found:
        text = f"{counted(len({each[0] for each in found}), 'instance')}, none for long"
        yield Finding(Level.NOTE, "own protection", text, "See zenvark-web status.")


def policies(facts: Facts) -> Iterable[Finding]:
    """Check that all instances have the same policies."""
    found = _grouped(facts, lambda each: each.policies)
    if len(found) > 1:
        text = f"instances have different policies: {_groups(found)}"
        advice = (
            "Finish the rollout, or give each group a namespace of its own. The leader decides "
            "with its own policies."
        )
        yield Finding(Level.PROBLEM, "policies", text, advice, _differences(facts, found))
    elif found:
        yield Finding(Level.OK, "policies", "the same on all instances")
    told = _grouped(facts, lambda each: each.local)
    local = {digest: names for digest, names in told.items() if digest}
    if len(local) > 1:
        text = f"instances differ in settings that concern only themselves: {_groups(local)}"
        advice = "Finish the rollout, unless that is meant to be so, as observe=True on some."
        yield Finding(Level.NOTE, "policies", text, advice, _differences(facts, local))


def _differences(facts: Facts, digests: Iterable[str]) -> Sequence[str]:
    """Return the settings in which texts differ from the first one, as a diff."""
    texts = {digest: text for shard in facts.shards for digest, text in shard.policies.items()}
    known = [(digest, texts[digest].splitlines()) for digest in digests if digest in texts]
    lines: list[str] = []
    for digest, text in known[1:]:
        first, others = known[0]
        diff = unified_diff(others, text, first, digest, lineterm="", n=0)
        lines += [escaped(each, 160) for each in diff if not each.startswith("@@")]
    return lines[:MOST_LINES]


def shards(facts: Facts) -> Iterable[Finding]:
    """Check that all instances have the same number of shards."""
    told = facts.layout.told
    if len(told) > 1:
        text = "instances have different numbers of shards: " + _groups(
            {str(number): names for number, names in told.items()}
        )
        advice = (
            "Start all instances with the same number: instances with different numbers share no "
            "circuits."
        )
        yield Finding(Level.PROBLEM, "shards", text, advice)


def versions(facts: Facts) -> Iterable[Finding]:
    """Check that all instances have the same version."""
    found = _grouped(facts, lambda each: each.version)
    if len(found) > 1:
        text = f"instances have different versions of zenvark-web: {_groups(found)}"
        yield Finding(Level.NOTE, "versions", text, "Finish the rollout.")


CHECKS: Sequence[Check] = (
    *(server_version, server_role, memory, permissions, round_trip, clock, time_stamps),
    *(
        keys,
        fleet,
        presences,
        overrides,
        ignored_overrides,
        suspects,
        own_protection,
        policies,
        shards,
        versions,
    ),
)


def _unseen(check: str, what: str) -> Finding:
    advice = "Pass a user with +info for these checks. Instances do not need it."
    return Finding(Level.NOTE, check, f"no permission to read {what}", advice)


def _version(told: str) -> tuple[int, ...]:
    numbers = told.split(".")[:2]
    return tuple(int(each) for each in numbers) if all(map(str.isdecimal, numbers)) else ()


def _whole(told: object) -> int:
    return told if isinstance(told, int) else 0


def _jump(before: Sample, after: Sample) -> float:
    """Return the least jump of the clock between two readings."""
    least = (after.told - after.answered) - (before.told - before.asked)
    most = (after.told - after.asked) - (before.told - before.answered)
    return max(least, -most, 0.0)


def _instances(facts: Facts) -> Mapping[str, SeenInstance]:
    """Return the newest full heartbeat of each instance in any shard."""
    found: dict[str, SeenInstance] = {}
    for shard in facts.shards:
        for each in shard.view.instances if shard.view else ():
            if each.name not in found or each.silence < found[each.name].silence:
                found[each.name] = each
    return found


def _grouped(facts: Facts, value: Callable[[SeenInstance], str]) -> Mapping[str, list[str]]:
    groups: dict[str, list[str]] = {}
    for each in _instances(facts).values():
        if each.is_alive:
            groups.setdefault(value(each), []).append(each.name)
    return groups


def _groups(groups: Mapping[str, Sequence[str]]) -> str:
    return "; ".join(
        f"{escaped(value, 40)} on {', '.join(escaped(name, 60) for name in names[:NAMED])}"
        + (f" and {len(names) - NAMED} more" if len(names) > NAMED else "")
        for value, names in groups.items()
    )
