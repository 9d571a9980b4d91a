"""`status`, `why` and `doctor` name the suspects of a quorum, and the instances that protect
themselves, with what they saw."""

import json
from contextlib import suppress

import pytest

from tests.cli.schema import check
from tests.helpers.command import Result, arun
from tests.helpers.servers import ServerHandle
from tests.helpers.waiting import eventually
from zenvark_web import (
    Breaker,
    BreakerPolicy,
    CircuitOpenError,
    ConsecutiveFailures,
    ConstantBackoff,
    Coordinator,
    CountWindow,
    Outcome,
    State,
)
from zenvark_web._coordination import election
from zenvark_web._judging import leader

POLICY = BreakerPolicy(strategy=ConsecutiveFailures(5), backoff=ConstantBackoff(30), quorum=2)


async def run(command: str, server: ServerHandle, namespace: str, *more: str) -> Result:
    return await arun(command, *more, "--redis", server.url, "--namespace", namespace)


def record(breaker: Breaker, outcome: Outcome) -> None:
    with suppress(CircuitOpenError):
        breaker.acquire().record(outcome, "ConnectError" if outcome is Outcome.FAILURE else "")


async def test_they_are_named(
    redis_server: ServerHandle, namespace: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(leader, "TIDY_INTERVAL", 0.2)
    async with (
        Coordinator(redis_server.url, namespace=namespace, policy=POLICY) as good,
        Coordinator(redis_server.url, namespace=namespace, policy=POLICY) as bad,
    ):
        breakers = [each.breaker("payments") for each in (good, bad)]

        async def suspected() -> Result | None:
            for _ in range(2):
                record(breakers[0], Outcome.SUCCESS)
            record(breakers[1], Outcome.FAILURE)
            found = await run("status", redis_server, namespace)
            return found if "SUSPECT" in found.out else None

        for each in breakers:
            record(each, Outcome.SUCCESS)
        await good.flush()
        await bad.flush()
        for _ in range(5):
            record(breakers[1], Outcome.FAILURE)
        status = await eventually(suspected, within=20, what="a suspect")
        assert status is not None
        assert f"SUSPECT of payments: {bad.instance_id}: 5 of 5 calls failed" in status.out
        told = json.loads((await run("status", redis_server, namespace, "--json")).out)
        check(told, "status")
        [suspect] = told["suspects"]
        assert suspect["instance"] == bad.instance_id
        assert (suspect["circuit"], suspect["failures"], suspect["calls"]) == ("payments", 5, 5)
        why = await run("why", redis_server, namespace, "payments")
        assert f"{bad.instance_id}: 5 of 5 calls failed" in why.out
        record_of_why = json.loads(
            (await run("why", redis_server, namespace, "payments", "--json")).out
        )
        check(record_of_why, "why")
        assert [each["instance"] for each in record_of_why["suspects"]] == [bad.instance_id]
        audit = await run("events", redis_server, namespace, "--audit")
        assert f"payments: {bad.instance_id} is a suspect, 5 of 5 calls failed" in audit.out
        doctor = await run("doctor", redis_server, namespace)
        assert "1 suspect, none for long" in doctor.out


async def test_so_is_who_protects_itself_without_being_a_suspect(
    redis_server: ServerHandle, namespace: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Successes of the others keep the fleet's window below its threshold."""
    monkeypatch.setattr(election, "ANNOUNCE_INTERVAL", 0.1)
    policy = BreakerPolicy(strategy=CountWindow(100, 0.5), backoff=ConstantBackoff(30), quorum=2)
    async with (
        Coordinator(redis_server.url, namespace=namespace, policy=policy) as good,
        Coordinator(redis_server.url, namespace=namespace, policy=policy) as bad,
    ):
        breakers = [each.breaker("payments") for each in (good, bad)]
        for _ in range(50):
            record(breakers[0], Outcome.SUCCESS)
        await good.flush()
        for _ in range(10):
            record(breakers[1], Outcome.FAILURE)
        assert breakers[1].own_state is State.OPEN

        async def shown() -> Result | None:
            found = await run("status", redis_server, namespace)
            return found if "OWN PROTECTION" in found.out else None

        status = await eventually(shown, within=20, what="an instance that protects itself")
        assert status is not None
        assert "SUSPECT" not in status.out
        assert f"OWN PROTECTION from payments: {bad.instance_id}: open for itself" in status.out
        assert "10 of 10 calls failed" in status.out
        assert "(10 x ConnectError)" in status.out
        told = json.loads((await run("status", redis_server, namespace, "--json")).out)
        check(told, "status")
        [protection] = told["protections"]
        assert (protection["instance"], protection["circuit"]) == (bad.instance_id, "payments")
        why = await run("why", redis_server, namespace, "payments")
        assert f"{bad.instance_id}: open for itself" in why.out
        record_of_why = json.loads(
            (await run("why", redis_server, namespace, "payments", "--json")).out
        )
        check(record_of_why, "why")
        assert [each["instance"] for each in record_of_why["protections"]] == [bad.instance_id]
        doctor = await run("doctor", redis_server, namespace)
        assert "own protection" in doctor.out
        assert "1 instance, none for long" in doctor.out
