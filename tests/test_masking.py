"""No credential is shown, in whatever header and form it came."""

from __future__ import annotations

import pytest

from trackgate.masking import MaskedCall, masked, masked_headers
from trackgate.model import Call

KEY = "abcdefghijkl1234"


@pytest.mark.parametrize(
    ("name", "value", "shown"),
    [
        ("authorization", f"Token {KEY}", "Token ***1234"),
        ("Authorization", f"Token {KEY}", "Token ***1234"),
        ("authorization", "Bearer another-key-5678", "Bearer ***5678"),
        ("authorization", KEY, "***1234"),
        ("authorization", f'Digest username="u", response="{KEY}"', "***"),
        ("authorization", "Bearer short", "Bearer ***"),
        ("authorization", "", "***"),
        ("key", KEY, "***1234"),
        ("x-api-key", KEY, "***1234"),
        ("x-auth-token", KEY, "***1234"),
        ("cookie", f"a={KEY}; b=2", "***"),
        ("x-odd", KEY, "***1234"),
        ("x-odd", f"Odd {KEY}", "Odd ***1234"),
        ("x-odd", f"Odd and {KEY}", "***"),
        ("auth-type", "api", "api"),
        ("idempotency-key", "order-1", "order-1"),
        ("content-type", "application/json", "application/json"),
    ],
)
def test_a_credential_is_hidden_and_nothing_else_is(name: str, value: str, shown: str) -> None:
    assert masked_headers({name: value}, (KEY,), tail=4) == {name: shown}
    assert masked_headers({name: value}, (KEY,)) == {
        name: shown.partition("***")[0] + "***" if shown != value else value
    }


@pytest.mark.parametrize("value", ["two words-canary", "Bearer two words-canary"])
def test_a_credential_of_several_words_is_hidden_whole_whichever_comes_first(value: str) -> None:
    for credentials in (("two words-canary", "words-canary"), ("words-canary", "two words-canary")):
        shown = masked_headers({"x-odd": value}, credentials, tail=4)["x-odd"]
        assert shown == value.removesuffix("two words-canary") + "***nary"


def test_a_call_is_shown_with_its_body_and_without_its_credential() -> None:
    call = Call(url="https://there/v1", headers={"authorization": f"Token {KEY}", "x": "1"}, body=b'{"a": "\xff"}')
    shown = MaskedCall("POST", "https://there/v1", {"authorization": "Token ***", "x": "1"}, '{"a": "\ufffd"}')
    assert masked(call, (KEY,)) == shown
