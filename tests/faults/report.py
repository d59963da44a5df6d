"""What was found, as a page of the documentation."""

from __future__ import annotations

import os
import platform
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import apsw

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from tests.faults.verdicts import Verdict

HEAD = ("test", "what was done", "obligations", "lost", "duplicates", "measured", "target", "verdict")

HONEST = "Missed targets are shown as measured; nothing was rerun for a better result."

WORDS = """\
An *obligation* is one event owed to one destination after a 2xx. It is *lost* if it neither arrived there nor is listed
there as due, parked or dead. A *duplicate* is any call for it beyond the first."""


def page(title: str, command: str, verdicts: Iterable[Verdict], *sections: str) -> str:
    """The page: when, how and where it was found, then one row a test, by name."""
    rows = [HEAD, *(_row(verdict) for verdict in sorted(verdicts, key=lambda verdict: verdict.test))]
    written = f"Written by `{command}` on {datetime.now(UTC):%Y-%m-%d}, {machine()}. {HONEST}"
    return "\n\n".join([f"# {title}", written, WORDS, table(rows), *sections]) + "\n"


def machine() -> str:
    """What it ran on, in words."""
    return (
        f"{os.cpu_count()} cores, {platform.system()} {platform.release()}, Python {platform.python_version()},"
        f" SQLite {apsw.sqlite_lib_version()}"
    )


def table(rows: Sequence[Sequence[object]]) -> str:
    """Rows as Markdown, the first of them the head."""
    head, *rest = (f"| {' | '.join(_cell(value) for value in row)} |" for row in rows)
    return "\n".join([head, f"|{' --- |' * len(rows[0])}", *rest])


def broke(verdict: Verdict) -> bool:
    """Whether something that was promised was lost."""
    return bool(verdict.lost)


def _row(verdict: Verdict) -> tuple[object, ...]:
    said = "met" if verdict.held else "**BROKEN**" if broke(verdict) else "**missed**"
    counts = (verdict.obligations, verdict.lost, verdict.duplicates)
    return (verdict.test, verdict.done, *counts, verdict.figure, verdict.target, said)


def _cell(value: object) -> str:
    text = f"{value:,}" if isinstance(value, int) else str(value or "")
    return text.replace("|", "\\|").replace("\n", " ")
