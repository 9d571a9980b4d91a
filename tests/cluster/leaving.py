"""A program that starts a coordinator and never stops it."""

import json
import sys
import time

from zenvark_web import Coordinator, Role

coordinator = Coordinator(sys.argv[1], namespace=sys.argv[2])
coordinator.__enter__()
while coordinator.role is not Role.LEADER:
    time.sleep(0.01)
print(json.dumps({"role": coordinator.role}), flush=True)
sys.stdin.read()
for _ in range(3):
    coordinator.breaker("upstream").execute_sync(int)
