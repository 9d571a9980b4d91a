"""The URL of another node of a cluster has everything in common but the address."""

import pytest

from zenvark_web.backends._urls import at_address


@pytest.mark.parametrize(
    ("url", "host", "expected"),
    [
        ("redis://a:1/0", "b", "redis://b:7/0"),
        ("rediss://u:p%40@a:1?ssl_ca_certs=/c", "b", "rediss://u:p%40@b:7?ssl_ca_certs=/c"),
        ("redis://u:p@[::1]:1/0", "::2", "redis://u:p@[::2]:7/0"),
        ("redis://u:p@a:1/0", "", "redis://u:p@a:7/0"),
    ],
)
def test_only_the_address_differs(url: str, host: str, expected: str) -> None:
    assert at_address(url, host, 7) == expected
