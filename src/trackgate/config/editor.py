"""The JSON schema of ``routes.toml``, for editors; ``python -m trackgate.config schema`` prints it."""

from __future__ import annotations

import json
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any, assert_never

from trackgate import vendors as dialects
from trackgate.config.kinds import QUANTITIES, Json, Kind, Scalar, Several, Table, kind_of
from trackgate.config.meanings import meanings, summary
from trackgate.config.naming import NAME
from trackgate.config.reading import fields_of
from trackgate.config.tables import DestinationTable, RouteTable, Server, SourceTable
from trackgate.units import Duration, Size

if TYPE_CHECKING:
    from collections.abc import Mapping

    from msgspec import Struct
    from msgspec.inspect import Field

    from trackgate.vendor import Vendor

DEFINITIONS: Json = {
    "reference": {
        "description": "Taken from the environment or from a file.",
        "type": "string",
        "pattern": r"\$\{",
    },
    **{
        unit.noun: {
            "description": f"Such as {unit.examples}.",
            "type": "string",
            "pattern": rf"^\s*{unit.pattern}\s*$",
        }
        for unit in QUANTITIES
    },
}


def schema(vendors: Mapping[str, Vendor] | None = None) -> Json:
    """The schema; a destination's keys depend on its vendor."""
    known = vendors or dialects.load()
    source = _table(SourceTable)
    source["properties"]["vendor"]["enum"] = list(known)
    return {
        "$schema": "http://json-schema.org/draft-07/schema#",
        "title": "Trackgate routes.toml",
        "type": "object",
        "additionalProperties": False,
        "properties": {
            "server": _table(Server),
            "sources": _named(source),
            "destinations": _named({"oneOf": [_destination(vendor) for vendor in known.values()]}),
            "routes": {"type": "array", "items": _table(RouteTable)},
        },
        "definitions": DEFINITIONS,
    }


def spell(value: Json) -> str:
    """The schema as the file that ships."""
    return json.dumps(value, indent=2) + "\n"


def shipped() -> str:
    """The file that ships, as it is."""
    return resources.files("trackgate.config").joinpath("routes.schema.json").read_text(encoding="utf-8")


def _named(table: Json) -> Json:
    return {"type": "object", "propertyNames": {"pattern": f"^{NAME.pattern}$"}, "additionalProperties": table}


def _destination(vendor: Vendor) -> Json:
    table = _table(DestinationTable, vendor.options)
    table["title"] = vendor.title
    table["properties"]["vendor"]["const"] = vendor.name
    return table


def _table(*structs: type[Struct]) -> Json:
    fields = fields_of(*structs)
    said = {name: words for struct in structs for name, words in meanings(struct).items()}
    return {
        "description": summary(structs[0]),
        "type": "object",
        "additionalProperties": False,
        "properties": {key: _property(field, said.get(field.name, "")) for key, field in fields.items()},
        "required": [key for key, field in fields.items() if field.required],
    }


def _property(field: Field, meaning: str) -> Json:
    shape = _shape(kind_of(field.type))
    default = _default(field.default)
    return {**shape, "description": meaning, **({} if default is None else {"default": default})}


def _shape(kind: Kind) -> Json:
    match kind:
        case Scalar():
            return kind.schema
        case Several():
            return {"type": "array", "items": _shape(kind.item)}
        case Table():
            return _table(kind.struct)
        case _:
            assert_never(kind)


def _default(value: object) -> Any:
    match value:
        case Duration() | Size():
            return value.spell()
        case Path():
            return str(value)
        case tuple():
            return list(value)
        case str() | int() | float():
            return value
        case _:
            return None
