"""Strings with references, and secrets that nobody sees."""

from __future__ import annotations

import msgspec
import pytest

from trackgate.config import Secret, SecretUnreadable

ENVIRON = {"NAME": "v", "_x9": "w", "EMPTY": ""}


@pytest.mark.parametrize(
    ("text", "value", "literal"),
    [
        ("plain", "plain", True),
        ("${NAME}", "v", False),
        ("a-${NAME}-${_x9}-z", "a-v-w-z", False),
        ("$${NAME}", "${NAME}", True),
        ("$${${NAME}}", "${v}", False),
        ("$NAME and $$ stay", "$NAME and $$ stay", True),
    ],
)
def test_references_are_followed(text, value, literal):
    secret = Secret.read(text, ENVIRON)
    assert secret.value() == value
    assert secret.literal is literal


@pytest.mark.parametrize("text", ["${MISSING}", "${EMPTY}", "${}", "${NAME", "${a-b}", "${file:relative}", "${file:}"])
def test_what_cannot_be_followed_is_an_error(text):
    with pytest.raises(ValueError, match=r"MISSING|EMPTY|write"):
        Secret.read(text, ENVIRON)


def test_a_value_is_not_read_for_references_again():
    assert Secret.read("${A}", {"A": "${B}"}).value() == "${B}"


def test_a_file_is_read_anew_each_time_without_its_newline(tmp_path):
    path = tmp_path / "key"
    secret = Secret.read(f"x-${{file:{path}}}", {})
    with pytest.raises(SecretUnreadable, match="cannot be read"):
        secret.value()
    path.write_text("one\n")
    assert secret.value() == "x-one"
    path.write_text("two\r\n\n")
    assert secret.value() == "x-two"
    path.write_text("\n")
    with pytest.raises(SecretUnreadable, match="is empty"):
        secret.value()
    path.write_bytes(b"\xff")
    with pytest.raises(OSError, match="UTF-8"):
        secret.value()
    assert secret.from_file


@pytest.mark.parametrize("value", ["canary\nb", "canary ", " canary", "canary\x00", "canaryü", "canary\x7f"])
def test_a_credential_fits_into_a_header(value):
    with pytest.raises(SecretUnreadable, match="no HTTP header") as raised:
        Secret(value).credential()
    assert "canary" not in str(raised.value)


def test_a_secret_shows_itself_to_nobody():
    secret = Secret("canary")
    assert "canary" not in f"{secret} {secret!r} {[secret]}"
    with pytest.raises(TypeError):
        msgspec.json.encode(secret)
    with pytest.raises(AttributeError):
        secret.other = 1  # type: ignore[attr-defined]


def test_secrets_of_the_same_making_are_equal():
    assert Secret("a") == Secret("a")
    assert hash(Secret("a")) == hash(Secret("a"))
    assert Secret("a") != Secret("b")
    assert Secret("a") != "a"
