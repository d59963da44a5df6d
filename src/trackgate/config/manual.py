"""The reference of ``routes.toml`` as Markdown, for people; ``python -m trackgate.config reference`` prints it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from trackgate import vendors as dialects
from trackgate.config.meanings import Key, Section, sections
from trackgate.config.server import variable
from trackgate.config.tables import LATER

if TYPE_CHECKING:
    from collections.abc import Mapping

    from trackgate.vendor import Vendor

STRINGS = """\
In strings, `${NAME}` inserts an environment variable and `${file:/run/secrets/name}` the contents of a file, without
its trailing newline; `$${` is a literal `${`. An unset or empty value is an error. Durations are written `"500ms"`,
`"30s"`, `"10m"`, `"72h"`, `"7d"`; sizes `"512KiB"`, `"1MiB"`, `"2GiB"` (or `KB`, `MB`, `GB`); rates `"10/s"`,
`"600/min"`."""


def reference(vendors: Mapping[str, Vendor] | None = None) -> str:
    """Every key with its type, default and meaning."""
    parts = [STRINGS, *(_section(section) for section in sections(vendors or dialects.load())), _later()]
    return "\n\n".join(parts) + "\n"


def _section(section: Section) -> str:
    variables = section.header == "[server]"
    head = "| key | type | default | meaning |" + (" variable |" if variables else "")
    rule = "|---|---|---|---|" + ("---|" if variables else "")
    rows = [_row(key) + (f" `{variable(key.name)}` |" if variables else "") for key in section.keys]
    return "\n".join([f"### `{section.header}`", "", section.meaning, "", head, rule, *rows])


def _row(key: Key) -> str:
    default = "*required*" if key.default is None else "unset" if key.default == "unset" else f"`{key.default}`"
    if key.default == "see below":
        default = key.default
    cells = (f"`{key.name}`", key.kind, default, key.meaning)
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def _later() -> str:
    words = "; ".join(
        f"{f'in `{table}`' if table else 'at the top level'} {', '.join(f'`{key}`' for key in sorted(later))}"
        for table, later in LATER.items()
    )
    return f"Reserved for later versions, and an error until then: {words}."
