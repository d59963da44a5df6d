"""A clean file to spoil, and a reader of what a spoilt one should say."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

from trackgate.config import load

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from trackgate.config import Config, Fault

    Loaded = tuple[Config | None, tuple[Fault, ...]]
    Loading = Callable[..., Loaded]

ENVIRON = {"WEB_KEY": "key-of-web", "UP_KEY": "key-of-up", "OTHER_KEY": "key-of-other", "EMPTY": ""}

CLEAN = {
    "[sources": '[sources.web]\nvendor = "userpilot"\nkey = "${WEB_KEY}"\n',
    "[destinations": '[destinations.up]\nvendor = "userpilot"\nkey = "${UP_KEY}"\n',
    "[routes": '[[routes]]\nto = ["up"]\n',
}


def complete(text: str) -> str:
    """A fragment of the file, with clean tables after it in the place of those that it does not speak of.

    A comment with ``# [sources`` says that there is to be none.
    """
    spoken = "\n" + text.replace("[[", "[")
    missing = [clean for header, clean in CLEAN.items() if f"\n{header}" not in spoken and f"# {header}" not in text]
    return "\n".join([text, *missing])


def marked(text: str) -> list[tuple[str, int, str, str]]:
    """What the comments ``#! error key: words`` of a text announce: level, line, key and words of the message."""
    found = []
    for number, line in enumerate(text.splitlines(), 1):
        for announced in line.split("#! ")[1:]:
            match = re.fullmatch(r'(error|warning) (\S+|\S+"a b"): (.+?)\s*', announced)
            assert match, announced
            found.append((match[1], number, match[2], match[3]))
    return found


@pytest.fixture
def read(tmp_path: Path) -> Loading:
    """Load a text as if it were the file."""

    def read(
        text: str, environ: Mapping[str, str] = ENVIRON, overrides: Mapping[str, str] | None = None, **how: object
    ) -> Loaded:
        path = tmp_path / "routes.toml"
        path.write_text(complete(text), encoding="utf-8")
        return load(path, environ, overrides or {}, **how)  # type: ignore[arg-type]

    return read
