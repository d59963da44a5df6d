"""Calls as they may be shown: without the credentials that they carry."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import Struct

if TYPE_CHECKING:
    from trackgate.model import Call

MASK = "***"


class MaskedCall(Struct, frozen=True):
    """A call, its credentials masked and its body as text."""

    method: str
    url: str
    headers: dict[str, str]
    body: str


def masked(call: Call, credentials: tuple[str, ...]) -> MaskedCall:
    """The call without these credentials, which its vendor finds in its headers."""
    headers = {name: _hidden(value, credentials) for name, value in call.headers.items()}
    return MaskedCall(call.method, call.url, headers, call.body.decode(errors="replace"))


def _hidden(value: str, credentials: tuple[str, ...]) -> str:
    """A header's value, without the credential that it is or that stands behind its scheme."""
    for credential in credentials:
        if value == credential or value.endswith(f" {credential}"):
            return value.removesuffix(credential) + MASK
    return value
