"""The parts of a request that prove or name who sends it."""

from __future__ import annotations

import re

CREDENTIAL_HEADERS = (
    "Api-Key",
    "Authorization",
    "Cf-Access-Jwt-Assertion",
    "Cookie",
    "Dd-Api-Key",
    "Ocp-Apim-Subscription-Key",
    "Private-Token",
    "Proxy-Authorization",
    "X-Access-Token",
    "X-Amz-Security-Token",
    "X-Api-Key",
    "X-Api-Token",
    "X-Auth-Key",
    "X-Auth-Token",
    "X-Csrf-Token",
    "X-Goog-Api-Key",
    "X-Goog-Iap-Jwt-Assertion",
    "X-Rapidapi-Key",
    "X-Session-Id",
    "X-Session-Token",
    "X-Shopify-Access-Token",
    "X-Tenant",
    "X-Tenant-Id",
    "X-User-Id",
    "X-Vault-Token",
)
"""Header fields that identify the principal of a request."""

# Other fields by their names, such as `Xi-Api-Key` or `X-Company-Token`. A field too many costs a
# response in an outage, a field too few serves it to somebody else: so all keys and all IDs are
# included, except those that identify a request.
IDENTIFYING = re.compile(
    # proofs
    r"auth|cert|cookie|credential|dpop|jwt|key$|oidc|passw|saml|secret|session|signature|token"
    # people
    r"|actor|behalf|caller|consumer|customer|e-?mail|identity|imperson|login|member|owner|person"
    r"|principal|profile|subject|subscriber|sudo|user(?![-_]?agent)|(^|[-_])(as|dn)([-_]|$)"
    # groups of them, and what they may do
    r"|account|company|group|merchant|organi[sz]ation|project|realm|role|scope|shop|team|tenant"
    r"|workspace|(^|[-_])(org|store)([-_]|$)"
    r"|^from$|(access|client|subscription)[-_]?(id|key)"
    r"|(?<!request)(?<!correlation)(?<!trace)(?<!span)(?<!parent)[-_]id$"
)

SECRET_PARAMETERS = frozenset(
    {
        "access_token",
        "api-key",
        "api_key",
        "apikey",
        "auth",
        "client_secret",
        "key",
        "password",
        "sig",
        "signature",
        "token",
        "x-amz-credential",
        "x-amz-security-token",
        "x-amz-signature",
        "x-goog-credential",
        "x-goog-signature",
    }
)
"""Parameters of a query that prove who sends it."""


def identifies(header: str) -> bool:
    """Whether a header field identifies a principal."""
    return IDENTIFYING.search(header.lower()) is not None or header.lower() in _NAMES


def without_secrets(query: bytes) -> bytes:
    """A query without the parameters that prove who sends it."""
    return b"&".join(part for part in query.split(b"&") if not _is_secret(part))


def _is_secret(parameter: bytes) -> bool:
    name = parameter.partition(b"=")[0].decode("ascii", "replace").lower()
    return name in SECRET_PARAMETERS


_NAMES = frozenset(name.lower() for name in CREDENTIAL_HEADERS)
