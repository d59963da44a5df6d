"""Calls as they may be shown: without the credentials that they carry."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import Struct

from trackgate.headers import IDEMPOTENCY_KEY

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from trackgate.model import Call

MASK = "***"

SECRETS = ("authorization", "proxy-authorization", "cookie", "key")
"""Headers that hold a credential whatever their form, as do those that end in one of ``SECRET_ENDS``."""

SECRET_ENDS = ("-key", "-token", "-secret")

NO_SECRETS = (IDEMPOTENCY_KEY,)


class MaskedCall(Struct, frozen=True):
    """A call, its credentials masked and its body as text."""

    method: str
    url: str
    headers: dict[str, str]
    body: str


def masked(call: Call, credentials: Sequence[str]) -> MaskedCall:
    """The call without these credentials, which its vendor finds in its headers, and without any other."""
    return MaskedCall(
        call.method, call.url, masked_headers(call.headers, credentials), call.body.decode(errors="replace")
    )


def masked_headers(headers: Mapping[str, str], credentials: Sequence[str], *, tail: int = 0) -> dict[str, str]:
    """The headers with each credential masked.

    Args:
        headers: by name.
        credentials: what the vendor found in them; masked in any header that is one or ends in one.
        tail: how many of a credential's last characters may be seen; none of one that is not twice as long.

    """
    # The longest first: of one credential that another ends in, more would be seen.
    known = sorted(credentials, key=len, reverse=True)
    return {name: _shown(name.lower(), value, known, tail) for name, value in headers.items()}


def _shown(name: str, value: str, credentials: Sequence[str], tail: int) -> str:
    found = next((each for each in credentials if each and f" {value}".endswith(f" {each}")), None)
    if found is None:
        if name in NO_SECRETS or not (name in SECRETS or name.endswith(SECRET_ENDS)):
            return value
        found = value.rpartition(" ")[2]
    scheme = value.removesuffix(found).removesuffix(" ")
    if scheme and not scheme.replace("-", "").isalnum():  # not `Scheme credential`: any of its words may be secret
        return MASK
    seen = found[-tail:] if tail and len(found) >= 2 * tail else ""
    return f"{scheme} {MASK}{seen}" if scheme else MASK + seen
