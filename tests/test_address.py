"""Where something listens."""

from __future__ import annotations

import pytest

from trackgate.address import Address, names_loopback


@pytest.mark.parametrize(
    ("text", "host", "port", "loopback"),
    [
        ("127.0.0.1:8080", "127.0.0.1", 8080, True),
        ("127.8.8.8:1", "127.8.8.8", 1, True),
        ("localhost:0", "localhost", 0, True),
        ("[::1]:65535", "::1", 65535, True),
        ("[::ffff:127.0.0.1]:80", "::ffff:127.0.0.1", 80, True),
        ("0.0.0.0:80", "0.0.0.0", 80, False),
        ("[::]:80", "::", 80, False),
        ("gateway.internal:80", "gateway.internal", 80, False),
        ("localhost.evil.example:80", "localhost.evil.example", 80, False),
    ],
)
def test_an_address_is_taken_apart(text, host, port, loopback):
    address = Address.read(text)
    assert (address.host, address.port, address.loopback) == (host, port, loopback)
    assert str(address) == text


@pytest.mark.parametrize(
    "text",
    ["", ":80", "8080", "host", "host:", "host:x", "host:65536", "::1:80", "[::1]", "a b:80", "tcp://10.0.0.1:80"],
)
def test_what_is_none_says_how_one_looks(text):
    with pytest.raises(ValueError, match=r"must be host:port such as"):
        Address.read(text)


def test_what_listens_everywhere_is_reached_by_loopback():
    asked = {text: str(Address.read(text).here) for text in ("0.0.0.0:80", "[::]:80", "10.0.0.1:80", "localhost:80")}
    assert list(asked.values()) == ["127.0.0.1:80", "[::1]:80", "10.0.0.1:80", "localhost:80"]


@pytest.mark.parametrize(
    ("host", "local"),
    [
        ("localhost", True),
        ("LOCALHOST:1", True),
        ("localhost.:1", True),
        ("127.0.0.1", True),
        ("127.1.2.3:80", True),
        ("[::1]:80", True),
        ("[::1]", True),
        ("::1", True),
        ("fe80::1", False),
        ("2001:db8::1:8080", False),
        ("127.0.0.1.evil.example", False),
        ("localhost.evil.example:80", False),
        ("192.168.0.1", False),
        ("", False),
    ],
)
def test_loopback_is_an_address_and_not_a_prefix(host, local):
    assert names_loopback(host) is local
