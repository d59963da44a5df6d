"""Where each key of a TOML text stands: ``tomllib`` reads the values but forgets the lines.

A scan of text that ``tomllib`` has accepted; it finds keys and list items and skips over values. A place is the keys
and list positions that lead to a value: ``("routes", 0, "to", 1)``.
"""

from __future__ import annotations

import re
import tomllib
from bisect import bisect_left
from contextlib import suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

Place = tuple[str | int, ...]

_BLANK = re.compile(r"(?:[ \t\r\n]|#[^\n]*)*")
_SPACE = re.compile(r"[ \t]*")
_KEY = re.compile(r"""[A-Za-z0-9_-]+|"(?:[^"\\\n]|\\.)*"|'[^'\n]*'""")
_VALUE = re.compile(
    r'"""(?:\\.|[^\\])*?"""(?:""?)?'  # a text may end in two quotes of its own
    r"|'''.*?'''(?:''?)?"
    r'|"(?:[^"\\\n]|\\.)*"'
    r"|'[^'\n]*'"
    r"|[^,\]}#\n]+",
    re.DOTALL,
)


class _Lost(Exception):  # noqa: N818 - ends the scan, is no error
    """The text is not what the scan expects."""


def locate(text: str) -> Mapping[Place, int]:
    """The line (from 1) of every table, key and list item.

    Args:
        text: what ``tomllib`` has accepted. In other text whatever stands before the trouble is found.

    """
    scan = _Scan(text)
    with suppress(_Lost, RecursionError):
        scan.document()
    return scan.lines


class _Scan:
    def __init__(self, text: str) -> None:
        self.lines: dict[Place, int] = {}
        self._text = text
        self._at = 0
        self._ends = [match.start() for match in re.finditer("\n", text)]
        self._last: dict[Place, int] = {}  # path of an array of tables -> the position of its latest

    def document(self) -> None:
        table: Place = ()
        while self._take(_BLANK) is not None and self._at < len(self._text):
            if self._next("["):
                table = self._header()
            else:
                self._pair(table)

    def _header(self) -> Place:
        opening = self._expect(re.compile(r"\[\[?"))
        line = self._line()
        *outer, name = self._keys()
        self._expect(re.compile(r"\]\]?"))
        path: Place = ()
        for key in outer:
            path = self._inside((*path, key), line)
        path = (*path, name)
        if opening == "[":
            self.lines[path] = line
            return path
        self.lines.setdefault(path, line)
        self._last[path] = self._last.get(path, -1) + 1
        path = (*path, self._last[path])
        self.lines[path] = line
        return path

    def _inside(self, path: Place, line: int) -> Place:
        """The table that a key on the way to another means: of an array of tables the latest."""
        self.lines.setdefault(path, line)
        return (*path, self._last[path]) if path in self._last else path

    def _pair(self, table: Place) -> None:
        line = self._line()
        path = table
        for key in self._keys():
            path = (*path, key)
            self.lines.setdefault(path, line)
        self._expect(re.compile("="))
        self._value(path)

    def _keys(self) -> list[str]:
        keys = []
        while True:
            self._take(_SPACE)
            keys.append(_plain(self._expect(_KEY)))
            self._take(_SPACE)
            if not self._next("."):
                return keys
            self._at += 1

    def _value(self, path: Place) -> None:
        self._take(_BLANK)
        if self._next("["):
            self._items(path, "]")
        elif self._next("{"):
            self._items(path, "}")
        else:
            self._expect(_VALUE)

    def _items(self, path: Place, closing: str) -> None:
        """A list or an inline table."""
        self._at += 1
        position = 0
        while True:
            self._take(_BLANK)
            if self._next(closing):
                self._at += 1
                return
            if closing == "}":
                self._pair(path)
            else:
                self.lines[*path, position] = self._line()
                self._value((*path, position))
                position += 1
            self._take(_BLANK)
            if self._next(","):
                self._at += 1

    def _next(self, text: str) -> bool:
        return self._text.startswith(text, self._at)

    def _take(self, pattern: re.Pattern[str]) -> str | None:
        match = pattern.match(self._text, self._at)
        if match is None:
            return None
        self._at = match.end()
        return match[0]

    def _expect(self, pattern: re.Pattern[str]) -> str:
        taken = self._take(pattern)
        if not taken:
            raise _Lost
        return taken

    def _line(self) -> int:
        return bisect_left(self._ends, self._at) + 1


def _plain(key: str) -> str:
    """A key as written, without its quotes and escapes."""
    if key[0] not in "\"'":
        return key
    try:
        value: str = tomllib.loads(f"key = {key}")["key"]
    except ValueError:
        raise _Lost from None
    return value
