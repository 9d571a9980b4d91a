"""An instance that takes part in nothing, for what is tested apart from a coordinator."""

from typing import Any

from zenvark_web._core.policy import BreakerPolicy, PolicyBook
from zenvark_web._runtime.host import Host
from zenvark_web._runtime.instance import Instance
from zenvark_web._runtime.notifier import Callbacks, Notifier
from zenvark_web.statistics import Statistics


def make_instance(**of_host: Any) -> Instance:
    """An instance called web-1.

    Args:
        of_host: What its host has of its own, such as `monotonic`.
    """
    host, statistics = Host(**of_host), Statistics()
    return Instance(
        host=host,
        policies=PolicyBook(BreakerPolicy(), {}),
        notifier=Notifier("shop", Callbacks(), statistics, host),
        statistics=statistics,
        id="web-1",
    )
