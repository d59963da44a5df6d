"""Every key of the file with its type, default and meaning, read off the Structs: for the schema and the reference."""

from __future__ import annotations

import ast
import inspect
import json
from pathlib import Path
from textwrap import dedent
from typing import TYPE_CHECKING, assert_never

from msgspec import NODEFAULT, Struct

from trackgate.backlog import BacklogPolicy
from trackgate.config.kinds import Kind, Scalar, Several, Table, kind_of
from trackgate.config.reading import fields_of
from trackgate.config.tables import DestinationTable, Lossy, RouteTable, Server, SourceTable
from trackgate.retry import RetryPolicy
from trackgate.routing import Match
from trackgate.units import Duration, Size

if TYPE_CHECKING:
    from collections.abc import Mapping

    from msgspec.inspect import Field

    from trackgate.vendor import Vendor


class Key(Struct, frozen=True):
    """One key. ``kind`` and ``default`` in words; ``default`` is ``None`` where the key must be written."""

    name: str
    kind: str
    default: str | None
    meaning: str


class Section(Struct, frozen=True):
    """One table of the file: its header as written, its meaning and its keys."""

    header: str
    meaning: str
    keys: tuple[Key, ...]


def sections(vendors: Mapping[str, Vendor]) -> tuple[Section, ...]:
    """The whole file, vendors' own options included."""
    own = [
        Section(f'[destinations.NAME] with vendor = "{vendor.name}"', summary(vendor.options), keys(vendor.options))
        for vendor in vendors.values()
        if fields_of(vendor.options)
    ]
    return (
        Section("[server]", summary(Server), keys(Server)),
        Section("[sources.NAME]", summary(SourceTable), keys(SourceTable)),
        Section("[destinations.NAME]", summary(DestinationTable), keys(DestinationTable)),
        *own,
        Section("[destinations.NAME.backlog]", summary(BacklogPolicy), keys(BacklogPolicy)),
        Section("[destinations.NAME.retry]", summary(RetryPolicy), keys(RetryPolicy)),
        Section("[destinations.NAME.lossy]", summary(Lossy), keys(Lossy)),
        Section("[[routes]]", summary(RouteTable), keys(RouteTable)),
        Section("[routes.match]", summary(Match), keys(Match)),
    )


def keys(table: type[Struct]) -> tuple[Key, ...]:
    """The keys of one Struct."""
    said = meanings(table)
    return tuple(
        Key(key, named(kind_of(field.type)), default(field), said.get(field.name, ""))
        for key, field in fields_of(table).items()
    )


def summary(table: type[Struct]) -> str:
    """What a table is, from its Struct's docstring."""
    return " ".join((table.__doc__ or "").split())


def meanings(table: type[Struct]) -> dict[str, str]:
    """What each field means, from the string below it; inherited fields too."""
    said: dict[str, str] = {}
    for each in reversed(table.__mro__):
        if each is not Struct and issubclass(each, Struct):
            said.update(_below(each))
    return said


def default(field: Field) -> str | None:
    """A default as one would write it; ``unset`` where being unset has a meaning of its own."""
    value = field.default if field.default is not NODEFAULT else None
    if field.required:
        return None
    match value:
        case None:
            return "unset"
        case Duration() | Size():
            return f'"{value.spell()}"'
        case Struct():
            return "see below"
        case tuple():
            return json.dumps(list(value))
        case Path():
            return f'"{value}"'
        case _:
            return json.dumps(value)


def named(kind: Kind) -> str:
    """A kind of value in a word or two."""
    match kind:
        case Scalar():
            return kind.name
        case Several():
            return f"list of {named(kind.item)}"
        case Table():
            return "table"
        case _:
            assert_never(kind)


def _below(table: type[Struct]) -> dict[str, str]:
    body = ast.parse(dedent(inspect.getsource(table))).body[0]
    assert isinstance(body, ast.ClassDef)  # noqa: S101 - the source of a class
    said: dict[str, str] = {}
    for statement, follower in zip(body.body, body.body[1:], strict=False):
        if isinstance(statement, ast.AnnAssign) and isinstance(follower, ast.Expr):
            said[ast.unparse(statement.target)] = " ".join(ast.literal_eval(follower.value).split())
    return said
