"""The operators' tokens, in the file and as variables."""

from __future__ import annotations

import pytest

ENVIRON = {"UP_KEY": "key-of-up", "WEB_KEY": "key-of-web", "TOKEN": "from-a-variable"}


def test_tokens_come_from_the_file_or_from_their_variables_and_show_nowhere(read, tmp_path):
    (tmp_path / "token").write_text("from-a-file\n")
    text = f'[server]\nread_token = "${{TOKEN}}"\nact_token = "${{file:{tmp_path}/token}}"\n'
    config, faults = read(text, ENVIRON)
    assert faults == ()
    assert config.server.read_token.value() == "from-a-variable"
    assert config.server.act_token.value() == "from-a-file"
    config, _ = read(text, {**ENVIRON, "TRACKGATE_ACT_TOKEN": "outside"})
    assert config.server.act_token.value() == "outside"
    assert "outside" not in repr(config.server)


def test_a_token_in_plain_text_is_warned_of(read):
    _, faults = read('[server]\nact_token = "plain"\n', ENVIRON)
    assert [(fault.level, fault.key) for fault in faults] == [("warning", "server.act_token")]
    assert "plain text" in faults[0].message


@pytest.mark.parametrize("variable", ["", " ", "with\nbreak", "caf\u00e9"])
def test_a_token_that_no_header_can_carry_is_an_error_that_does_not_repeat_it(read, variable):
    config, faults = read("", {**ENVIRON, "TRACKGATE_READ_TOKEN": variable})
    assert config is None
    assert [(fault.file, fault.key) for fault in faults] == [("TRACKGATE_READ_TOKEN", "server.read_token")]
    assert not variable.strip() or variable not in faults[0].message
    assert read('[server]\nread_token = ""\n', ENVIRON)[0] is None
