"""What type checkers make of settings. Checked, never run."""

# pyright: reportUnnecessaryTypeIgnoreComment=true, reportUnusedFunction=false

from collections.abc import Mapping

import redis.asyncio

from zenvark_web import (
    Backoff,
    BreakerPolicy,
    ConsecutiveFailures,
    ConstantBackoff,
    Coordinator,
    CountWindow,
    ExponentialBackoff,
    HealthCheckType,
    HttpHealthCheck,
    MemoryBackend,
    Outcome,
    PrometheusMetrics,
    Role,
    StateChange,
    Strategy,
    TimeWindow,
    Trip,
    Window,
)


def on_error(error: Exception) -> None: ...
async def on_error_async(error: Exception) -> None: ...
def on_any_error(error: BaseException) -> None: ...
def on_os_error(error: OSError) -> None: ...
def on_state_change(change: StateChange) -> None: ...
async def on_state_change_async(change: StateChange) -> None: ...
def on_role_change(role: Role) -> None: ...
async def on_role_change_async(role: Role) -> None: ...


errors: list[Exception] = []

Coordinator()
Coordinator("redis://localhost")
Coordinator(redis.asyncio.Redis(host="localhost"))
Coordinator(redis.asyncio.RedisCluster("localhost"))
Coordinator(MemoryBackend())
Coordinator(namespace="shop", lease_ttl=1, max_breakers=100, metrics=PrometheusMetrics())

# Callbacks may be sync or async.
Coordinator(on_error=on_error, on_state_change=on_state_change, on_role_change=on_role_change)
Coordinator(
    on_error=on_error_async,
    on_state_change=on_state_change_async,
    on_role_change=on_role_change_async,
)
Coordinator(on_error=on_any_error)
Coordinator(on_error=errors.append)
Coordinator(on_error=on_os_error)  # type: ignore[arg-type]
Coordinator(on_error=on_role_change)  # type: ignore[arg-type]
Coordinator(on_state_change=on_role_change)  # type: ignore[arg-type]

Coordinator(6379)  # type: ignore[arg-type]
Coordinator(namespace=7)  # type: ignore[arg-type]
Coordinator(None, "shop")  # type: ignore[call-arg]
Coordinator(metrics="prometheus")  # type: ignore[arg-type]

# Policies.
policies: Mapping[str, BreakerPolicy] = {"payments": BreakerPolicy(), "*.internal": BreakerPolicy()}
Coordinator(policy=BreakerPolicy(trial_calls=3), policies=policies)
Coordinator(policies={"payments": ConsecutiveFailures(5)})  # type: ignore[dict-item]
Coordinator(policies={7: BreakerPolicy()})  # type: ignore[dict-item]
Coordinator(policy=ConsecutiveFailures(5))  # type: ignore[arg-type]


async def check(type_: HealthCheckType) -> None: ...
def check_sync(type_: HealthCheckType) -> None: ...
async def check_nothing() -> None: ...


def classify(ended: object) -> Outcome:
    return Outcome.SUCCESS


def classify_as_bool(ended: object) -> bool:
    return True


BreakerPolicy(
    strategy=TimeWindow(10, 0.5, minimum_calls=20, slow_rate=0.5),
    health_check=check,
    idle_interval=30,
    backoff=ExponentialBackoff(initial=1, maximum=30),
    healthy_after=2,
    slow_call=1.5,
    max_retry_after=60,
    classify=classify,
)
BreakerPolicy(strategy=CountWindow(100, 0.5), backoff=ConstantBackoff(1))
BreakerPolicy(ramp=(0.1, 0.25, 0.5), ramp_step=5, forgive=60)
BreakerPolicy(ramp=[0.5], forgive=float("inf"))
BreakerPolicy(ramp=0.5)  # type: ignore[arg-type]
BreakerPolicy(health_check=HttpHealthCheck("https://{name}/health", expect={200, 204}))
BreakerPolicy(health_check=check_sync)
BreakerPolicy(health_check=check_nothing)  # type: ignore[arg-type]
BreakerPolicy(strategy=5)  # type: ignore[arg-type]
BreakerPolicy(backoff=5)  # type: ignore[arg-type]
BreakerPolicy(classify=classify_as_bool)  # type: ignore[arg-type]
BreakerPolicy(ConsecutiveFailures(5))  # type: ignore[call-arg]
BreakerPolicy().trial_calls = 3  # type: ignore[misc]
HttpHealthCheck("https://example.com", expect=200)  # type: ignore[arg-type]


# What a user writes himself.


class FirstFailure:
    def window(self) -> Window:
        return FirstFailureWindow()


class FirstFailureWindow:
    def record(self, failed: bool, slow: bool, count: int, now: float) -> Trip | None:
        return Trip(after=1, calls=1, failures=1, slow=0) if failed else None


class Impatient:
    def delay(self, attempt: int, chance: float) -> float:
        return 0.1


class Forgetful:
    def delay(self, attempt: int) -> float:
        return 0.1


strategy: Strategy = FirstFailure()
backoff: Backoff = Impatient()
BreakerPolicy(strategy=FirstFailure(), backoff=Impatient())
BreakerPolicy(backoff=Forgetful())  # type: ignore[arg-type]
