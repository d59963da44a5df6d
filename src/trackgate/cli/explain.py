"""``trackgate explain``."""

from __future__ import annotations

import sys
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import click
import msgspec

from trackgate import timestamps, vendors
from trackgate.cli.configured import config_option, usable
from trackgate.clock import SystemClock
from trackgate.explain import SYMBOLS, Explained, Going, cells, kept_out, matrix
from trackgate.explain import explain as explain_call
from trackgate.fidelity import facts
from trackgate.model import Problem

if TYPE_CHECKING:
    from collections.abc import Mapping

    from trackgate.config import Config
    from trackgate.fidelity import Note
    from trackgate.model import Event
    from trackgate.vendor import Endpoint

WORDS = {
    "carried": "carried in the properties, or as an identify call",
    "changed": "changed in form",
    "made-up": "filled in, because the vendor expects it",
    "dropped": "dropped",
    "degraded": "expected by the vendor, but stated by nobody",
}

LONGEST_SHOWN = 60
"""Characters of a value in the words of a note: the calls beside it have it whole."""

REJECTED = 1
"""Exit status: the call would be turned away."""


@click.command(short_help="Show how a call would be routed and converted.")
@config_option
@click.option("--source", metavar="NAME", help="The source that receives the call.")
@click.option("--path", "at", metavar="PATH", help="The path that is called; default: the vendor's track call.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.option("--matrix", "table", is_flag=True, help="Show the fidelity table of all vendors instead.")
@click.argument("file", type=click.File("rb"), required=False)
def explain(
    path: Path, source: str | None, at: str | None, file: BinaryIO | None, *, as_json: bool, table: bool
) -> None:
    """Show how a call would be routed and converted, without sending anything.

    FILE holds the body of a call in the source's format (- for standard input). The output shows the canonical event,
    which routes match and which do not, each outgoing call, and what the conversions keep, change and lose.
    """
    if table:
        if source is not None or at is not None or file is not None:
            raise click.UsageError("--matrix is of every vendor, whatever is sent: leave --source, --path and FILE out")
        known = vendors.load()
        click.echo(_json(cells(known)) if as_json else f"{matrix(known)}\n\n{legend()}")
        return
    if source is None or file is None:
        message = "give --source NAME and a FILE (or - for standard input), or --matrix"
        raise click.UsageError(message)
    config = usable(path, {}, placeholders=True)
    endpoint = _endpoint(config, source, at)
    try:
        explained = explain_call(config, source, endpoint, file.read(), SystemClock().now())
    except Problem as problem:
        click.echo(f"this call would be turned away with {problem.status}: {problem.message}", err=True)
        sys.exit(REJECTED)
    if as_json:
        click.echo(_json(explained))
    else:
        click.echo("\n\n".join(_readable(each, config) for each in explained))


def legend() -> str:
    """What the table's signs mean."""
    return "\n".join(f"{sign} {WORDS[kind]}" for kind, sign in SYMBOLS.items())


def _endpoint(config: Config, source: str, at: str | None) -> Endpoint:
    if source not in config.sources:
        message = f"there is no source {source!r}; there are {', '.join(config.sources)}"
        raise click.BadParameter(message, param_hint="--source")
    endpoints = config.sources[source].vendor.endpoints
    for endpoint in endpoints:
        if at is None or endpoint.path == at:
            return endpoint
    message = f"{at!r} is none of {', '.join(each.path for each in endpoints)}"
    raise click.BadParameter(message, param_hint="--path")


def _json(value: object) -> str:
    return msgspec.json.format(msgspec.json.encode(value, enc_hook=repr)).decode()


def _readable(explained: Explained, config: Config) -> str:
    event = msgspec.json.format(msgspec.json.encode(explained.event)).decode()
    lines = ["event " + event]
    lines += [f"  note {note.code}  ({_read(note)})" for note in explained.notes]
    lines.append("routes")
    for passed in explained.routes:
        lines.append(f"  {passed.route} -> {', '.join(passed.to)}: {passed.why_not or 'takes it'}")
    lines += [line for each in explained.owed for line in _going(each, explained.event)]
    lines += [
        f"{name}: filtered, {kept_out(config.destinations[name], explained.event)}" for name in explained.filtered
    ]
    if not explained.owed:
        lines.append("owed to nobody: it would be stored, and counted as unrouted")
    return "\n".join(lines)


def _going(each: Going, event: Event) -> list[str]:
    lines = [f"to {each.destination} ({each.vendor})"]
    if each.unsupported is not None:
        return [*lines, f"  cannot be said, would be dead: {each.unsupported}"]
    for call in each.calls:
        lines.append(f"  {call.method} {call.url}")
        lines += [f"    {name}: {value}" for name, value in call.headers.items()]
        lines += ["    " + line for line in msgspec.json.format(call.body).splitlines()]
    stated = facts(event)
    for note in each.notes:
        lines.append(f"  note {note.code}  ({_happened(note, stated)})")
        stated |= note.became
    return lines


def _read(note: Note) -> str:
    """What a field was read as, if it was."""
    return f"{note.field}, read as {_shown(note.became[note.field])}" if note.field in note.became else note.field


def _happened(note: Note, stated: Mapping[str, Any]) -> str:
    """What became of a field: its new form where it kept its name, its new name otherwise."""
    if note.kind == "carried" and not note.became:
        return f"{note.field}: as a call of its own, before the event's"
    if not note.became or note.kind == "made-up":
        return f"{note.field}: {WORDS[note.kind]}"
    moved = ", ".join(name for name in note.became if name != note.field)
    if note.field not in note.became:
        return f"{note.field} -> {moved}"
    forms = f"{note.field}: {_shown(stated.get(note.field))} -> {_shown(note.became[note.field])}"
    return f"{forms}, and {moved}" if moved else forms


def _shown(value: object) -> str:
    said = timestamps.spell(value) if isinstance(value, datetime) else value
    text = msgspec.json.encode(said).decode()
    return text if len(text) <= LONGEST_SHOWN else text[: LONGEST_SHOWN - 1] + "…"
