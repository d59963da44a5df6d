"""A table of the file, read by its Struct: key by key, so that every fault is found at once."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any, NamedTuple, assert_never

from msgspec import Struct, inspect
from msgspec.inspect import StructType

from trackgate.config.faults import closest, did_you_mean
from trackgate.config.kinds import SECRET, Kind, Scalar, Several, Table, kind_of
from trackgate.config.secret import EMPTY, PLACEHOLDER, Secret, SecretUnreadable, Unset

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from trackgate.config.faults import Faults
    from trackgate.config.lines import Place


class Broken(Exception):  # noqa: N818 - the fault is noted; this only ends the reading of the value
    """A value that is not there to be used."""


class Absent(Broken):
    """A value that counts as not written."""


class Read(NamedTuple):
    """A table as far as it could be read: by Struct field, and the keys that were meant but could not be read."""

    values: Mapping[str, Any]
    broken: frozenset[str]


class Scope(NamedTuple):
    """What a value is read against.

    ``forgiving``: variables and files that are not there are no fault (the sandbox's destinations): a secret becomes
    a placeholder, another key counts as not written.
    """

    faults: Faults
    environ: Mapping[str, str]
    forgiving: bool = False


def fields_of(*tables: type[Struct]) -> dict[str, inspect.Field]:
    """The keys of a table, as written, that one or more Structs declare."""
    shapes = inspect.multi_type_info(tables)
    return {field.encode_name: field for shape in shapes if isinstance(shape, StructType) for field in shape.fields}


def read_table(
    raw: object,
    fields: Mapping[str, inspect.Field],
    place: Place,
    scope: Scope,
    unknown: Callable[[str], str | None] = lambda _: None,
) -> Read:
    """Read a table key by key.

    Args:
        raw: what TOML has there.
        fields: the keys that it may have.
        place: of the table.
        scope: what to read against.
        unknown: words for a key that is not among them, where more than a did-you-mean can be said.

    Raises:
        Broken: it is no table.

    """
    if not isinstance(raw, dict):
        scope.faults.error(place, "must be a table")
        raise Broken
    values: dict[str, Any] = {}
    broken: set[str] = set()
    for key, value in raw.items():
        if key not in fields:
            scope.faults.error((*place, key), unknown(key) or f"unknown key{did_you_mean(key, fields)}")
            broken.add(closest(key, fields) or "")
            continue
        try:
            values[fields[key].name] = read_value(value, kind_of(fields[key].type), (*place, key), scope)
        except Absent:
            continue
        except Broken:
            broken.add(key)
    for key, field in fields.items():
        if field.required and key not in raw and key not in broken:
            scope.faults.error(place, f"`{key}` is missing: write it")
            broken.add(key)
    return Read(values, frozenset(broken))


def read_value(raw: object, kind: Kind, place: Place, scope: Scope) -> Any:
    """Read one value.

    Raises:
        Broken: it cannot be; the fault is noted.

    """
    match kind:
        case Several(item=item):
            return _several(raw, item, place, scope)
        case Table(struct=struct):
            return _struct(raw, struct, place, scope)
        case Scalar() if isinstance(raw, str):
            return _text(raw, kind, place, scope)
        case Scalar():
            return _taken(raw, kind, place, scope)
        case _:
            assert_never(kind)


def from_text(text: str, kind: Kind) -> Any:
    """A value from a variable or a flag.

    Raises:
        ValueError: it is none such; the words say what it must be, and never what it is.

    """
    if not text:
        raise ValueError(EMPTY)
    if not isinstance(kind, Scalar):
        raise TypeError("only single values have a variable")
    return kind.take(kind.parse(text))


def _struct(raw: object, struct: type[Struct], place: Place, scope: Scope) -> Struct:
    fields = fields_of(struct)
    read = read_table(raw, fields, place, scope)
    if any(field.required and field.name not in read.values for field in fields.values()):
        raise Broken
    return struct(**read.values)


def _several(raw: object, item: Kind, place: Place, scope: Scope) -> tuple[Any, ...]:
    if not isinstance(raw, list):
        scope.faults.error(place, "must be a list: write it in [ ]")
        raise Broken
    read: list[Any] = []
    for index, each in enumerate(raw):
        with suppress(Broken):
            read.append(read_value(each, item, (*place, index), scope))
    if len(read) < len(raw):
        raise Broken
    return tuple(read)


def _text(raw: str, kind: Scalar, place: Place, scope: Scope) -> Any:
    """A string, its references followed. Every string is read as a secret is; only the secret ones stay so."""
    try:
        secret = Secret.read(raw, scope.environ)
        value = secret.credential() if kind is SECRET else secret.value()
        if kind is SECRET:
            return secret
        return from_text(value, kind) if "${" in raw else kind.take(_filled(value))
    except (Unset, SecretUnreadable) as error:
        if scope.forgiving and kind is SECRET:
            return Secret(PLACEHOLDER)
        if scope.forgiving:
            raise Absent from None
        scope.faults.error(place, str(error))
    except ValueError as error:
        scope.faults.error(place, str(error))
    raise Broken


def _taken(raw: object, kind: Scalar, place: Place, scope: Scope) -> Any:
    try:
        return kind.take(raw)
    except ValueError as error:
        scope.faults.error(place, str(error))
        raise Broken from None


def _filled(value: str) -> str:
    if not value:
        raise ValueError(EMPTY)
    return value
