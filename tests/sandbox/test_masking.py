"""No credential is shown, in whatever header and form it came."""

from __future__ import annotations

import pytest

from trackgate.sandbox.masking import masked

KEY = "abcdefghijkl1234"


@pytest.mark.parametrize(
    ("name", "value", "shown"),
    [
        ("authorization", f"Token {KEY}", "Token ****1234"),
        ("authorization", KEY, "****1234"),
        ("authorization", f'Digest username="u", response="{KEY}"', "****"),
        ("authorization", "Bearer short", "Bearer ****"),
        ("authorization", "", "****"),
        ("key", KEY, "****1234"),
        ("x-api-key", KEY, "****1234"),
        ("x-auth-token", KEY, "****1234"),
        ("cookie", f"a={KEY}; b=2", "****"),
        ("x-odd", KEY, "****1234"),
        ("x-odd", f"Odd {KEY}", "Odd ****1234"),
        ("auth-type", "api", "api"),
        ("idempotency-key", "order-1", "order-1"),
        ("content-type", "application/json", "application/json"),
    ],
)
def test_a_credential_is_hidden_and_nothing_else_is(name: str, value: str, shown: str) -> None:
    assert masked({name: value}, (KEY,)) == {name: shown}
