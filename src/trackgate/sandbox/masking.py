"""Headers as they may be shown: every credential cut to its last characters."""

from __future__ import annotations

from typing import TYPE_CHECKING

from trackgate.headers import IDEMPOTENCY_KEY

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

MASK = "****"

SECRETS = ("authorization", "proxy-authorization", "cookie", "key")
"""Headers that hold a credential whatever their form, as do those that end in one of ``SECRET_ENDS``."""

SECRET_ENDS = ("-key", "-token", "-secret")

NO_SECRETS = (IDEMPOTENCY_KEY,)


def masked(headers: Mapping[str, str], credentials: Sequence[str]) -> dict[str, str]:
    """The headers with each credential cut to its last 4 characters, or to none of them where it is short.

    Args:
        headers: by lower-case name.
        credentials: what the vendor found in them; hidden in any header that ends in it.

    """
    return {name: _shown(name, value, credentials) for name, value in headers.items()}


def _shown(name: str, value: str, credentials: Sequence[str]) -> str:
    scheme, space, last = value.rpartition(" ")
    is_secret = name in SECRETS or (name.endswith(SECRET_ENDS) and name not in NO_SECRETS)
    if not is_secret and value not in credentials and last not in credentials:
        return value
    if not scheme.replace("-", "").isalnum() and scheme:  # not `Scheme credential`: any of its words may be secret
        return MASK
    return scheme + space + MASK + (last[-4:] if len(last) >= 8 else "")
