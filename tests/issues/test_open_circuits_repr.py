"""The error that a transport raises lost its arguments to httpx's own initialiser: error trackers
and logs, which show the `repr`, said `CircuitOpenError('')`."""

from zenvark_web.httpx import CircuitOpenError


def test_repr_tells_circuit_and_wait() -> None:
    assert (
        repr(CircuitOpenError("api.example.com", 1.5)) == "CircuitOpenError('api.example.com', 1.5)"
    )
