"""`status` and `why` of circuits whose policy has `observe=True`: no call is rejected."""

import asyncio
import json

from tests.cli.schema import check
from tests.helpers.command import arun
from tests.helpers.servers import ServerHandle
from tests.helpers.waiting import eventually
from zenvark_web import (
    BreakerPolicy,
    CircuitOpenError,
    ConsecutiveFailures,
    ConstantBackoff,
    Coordinator,
    Outcome,
)

ENFORCES = BreakerPolicy(strategy=ConsecutiveFailures(1), backoff=ConstantBackoff(60))
OBSERVES = BreakerPolicy(strategy=ConsecutiveFailures(1), backoff=ConstantBackoff(60), observe=True)


def instance(server: ServerHandle, namespace: str, policy: BreakerPolicy) -> Coordinator:
    return Coordinator(server.url, namespace=namespace, policies={"pay*": policy})


async def test_calls_would_have_been_rejected(redis_server: ServerHandle, namespace: str) -> None:
    where = ("--redis", redis_server.url, "--namespace", namespace)
    async with (
        instance(redis_server, namespace, OBSERVES) as one,
        instance(redis_server, namespace, OBSERVES) as other,
    ):
        breaker = one.breaker("payments")
        breaker.acquire().record(Outcome.FAILURE, "HTTP 503")
        await eventually(lambda: breaker.verdict == "open")
        for _ in range(7):
            breaker.acquire().record(Outcome.SUCCESS)
        await other.flush()

        async def told() -> bool:
            why = (await arun("why", "payments", *where)).out
            status = (await arun("status", *where)).row("payments")
            return "7 would have been rejected" in why and "open, only observed" in status

        await eventually(told)
        why = await arun("why", "payments", *where)
        assert "0 rejected, 7 would have been rejected" in why.out
        assert "All calls are permitted (observe=True)." in why.out
        assert "only observed, by the policy (observe=True)" in why.out
        record = json.loads((await arun("status", "--json", *where)).out)
        check(record, "status")
        [circuit] = record["circuits"]
        assert (circuit["share"], circuit["observers"]) == (1.0, {"number": 2, "of": 2})
        record = json.loads((await arun("why", "payments", "--json", *where)).out)
        check(record, "why")
        assert (record["recent"]["blocked"], record["recent"]["uncounted"]) == (0, 7)


async def test_one_of_two_instances_observes(redis_server: ServerHandle, namespace: str) -> None:
    where = ("--redis", redis_server.url, "--namespace", namespace)
    async with (
        instance(redis_server, namespace, OBSERVES) as canary,
        instance(redis_server, namespace, ENFORCES) as other,
    ):
        canary.breaker("payments").acquire().record(Outcome.FAILURE, "HTTP 503")
        await eventually(lambda: other.breaker("payments").state == "open")
        canary.breaker("payments").acquire()
        try:
            other.breaker("payments").acquire()
        except CircuitOpenError:
            pass
        else:
            raise AssertionError
        await asyncio.gather(canary.flush(), other.flush())

        async def told() -> bool:
            why = (await arun("why", "payments", *where)).out
            return "1 rejected, 1 would have been rejected" in why and "1 of 2 instances" in why

        await eventually(told)
        row = (await arun("status", *where)).row("payments")
        assert "open, only observed by 1 of 2 instances" in row
        [circuit] = json.loads((await arun("status", "--json", *where)).out)["circuits"]
        assert (circuit["share"], circuit["observers"]) == (0.0, {"number": 1, "of": 2})
