"""What a value of the file can be: for each type of a Struct's field its name, its check, its words and its schema."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from msgspec import Struct
from msgspec.inspect import (
    BoolType,
    CustomType,
    FloatType,
    FrozenSetType,
    IntType,
    LiteralType,
    Metadata,
    NoneType,
    StrType,
    StructType,
    Type,
    UnionType,
    VarTupleType,
)

from trackgate.config.secret import Secret, SecretUnreadable
from trackgate.units import Duration, Quantity, Rate, Size, wanted

Json = dict[str, Any]

QUANTITIES: tuple[type[Quantity], ...] = (Duration, Size, Rate)
"""What is written as a number and a unit."""

_MAX_DIGITS = 18


class Scalar(Struct, frozen=True, kw_only=True):
    """A kind of single value.

    ``take`` gives the value as the field wants it, or raises a ``ValueError`` with words for the one who wrote it;
    ``parse`` reads text (of a variable or a flag) to what TOML would have had in its stead.
    """

    name: str
    schema: Json
    take: Callable[[Any], Any]
    parse: Callable[[str], Any] = str


class Table(Struct, frozen=True):
    """A table of its own."""

    struct: type[Struct]


class Several(Struct, frozen=True):
    """A list."""

    item: Kind


Kind = Scalar | Table | Several


def kind_of(shape: Type, *, zero: bool = False, most: Size | None = None) -> Kind:
    """The kind of value that a field's type asks for. ``zero``: a quantity may be zero; ``most``: the largest size.

    Raises:
        TypeError: no configuration can hold such a type.

    """
    match shape:
        case Metadata(extra={"secret": True}):
            return SECRET
        case Metadata():
            extra = shape.extra or {}
            return kind_of(shape.type, zero=bool(extra.get("zero")), most=extra.get("most"))
        case UnionType():
            return kind_of(next(each for each in shape.types if not isinstance(each, NoneType)), zero=zero, most=most)
        case VarTupleType() | FrozenSetType():
            return Several(kind_of(shape.item_type))
        case StructType():
            return Table(shape.cls)
        case CustomType(cls=cls) if cls in QUANTITIES:
            return _quantity(cls, zero=zero, most=most)
        case LiteralType():
            return _one_of(shape.values)
        case _:
            return _plain(shape)


def _plain(shape: Type) -> Scalar:
    match shape:
        case StrType():
            return STRING
        case BoolType():
            return BOOLEAN
        case IntType():
            return _integer(shape)
        case FloatType():
            return NUMBER
        case CustomType(cls=cls) if cls is Secret:
            return SECRET
        case CustomType(cls=cls) if cls is Path:
            return PATH
        case _:
            raise TypeError(f"no key can be of the type {shape}")


def _quantity(unit: type[Quantity], *, zero: bool, most: Size | None) -> Scalar:
    def take(value: object) -> Quantity:
        if not isinstance(value, str):
            raise ValueError(f"must be {wanted(unit)}")  # noqa: TRY004 - a fault of the file
        quantity = unit.read(value)
        if not quantity and not zero:
            raise ValueError("must be more than zero")
        if most is not None and quantity > most:
            raise ValueError(f"must be at most {most.spell()}")
        return quantity

    schema = _or_reference({"$ref": f"#/definitions/{unit.noun}"})
    return Scalar(name=unit.noun, schema=schema, take=take)


def _one_of(values: tuple[bool | str | int | None, ...]) -> Scalar:
    spelled = [json.dumps(value) for value in values]
    return Scalar(
        name=" or ".join(spelled),
        schema=_or_reference({"enum": list(values)}),
        take=_check(lambda value: isinstance(value, str | int) and value in values, f"one of {', '.join(spelled)}"),
    )


def _integer(shape: IntType) -> Scalar:
    least, most = shape.ge, shape.le
    bounds = {key: bound for key, bound in (("minimum", least), ("maximum", most)) if bound is not None}

    def fits(value: object) -> bool:
        if not isinstance(value, int) or isinstance(value, bool):
            return False
        return (least is None or value >= least) and (most is None or value <= most)

    words = "a whole number" + "".join(f", {key} {bound}" for key, bound in bounds.items())
    schema = _or_reference({"type": "integer", **bounds})
    return Scalar(name="integer", schema=schema, take=_check(fits, words), parse=_digits)


def _check(fits: Callable[[object], bool], words: str, made: Callable[[Any], Any] = lambda value: value) -> Any:
    def take(value: object) -> Any:
        if not fits(value):
            raise ValueError(f"must be {words}")
        return made(value)

    return take


def _or_reference(schema: Json) -> Json:
    return {"anyOf": [schema, {"$ref": "#/definitions/reference"}]}


def _digits(text: str) -> object:
    return int(text) if text.isascii() and text.isdigit() and len(text) <= _MAX_DIGITS else text


def _number(text: str) -> object:
    with suppress(ValueError):
        return float(text)
    return text


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < math.inf


def _secret(text: str) -> Secret:
    """One that a variable holds as it is."""
    secret = Secret(text)
    try:
        secret.credential()
    except SecretUnreadable as error:
        raise ValueError(str(error)) from None
    return secret


_TEXT: Json = {"type": "string", "minLength": 1}

STRING = Scalar(name="string", schema=_TEXT, take=_check(lambda value: isinstance(value, str), "a string"))
PATH = Scalar(
    name="path",
    schema=_TEXT,
    take=_check(lambda value: isinstance(value, str) and "\0" not in value, "a path", Path),
)
BOOLEAN = Scalar(
    name="boolean",
    schema=_or_reference({"type": "boolean"}),
    take=_check(lambda value: isinstance(value, bool), "true or false"),
    parse=lambda text: {"true": True, "false": False}.get(text, text),
)
NUMBER = Scalar(
    name="number", schema=_or_reference({"type": "number"}), take=_check(_is_number, "a number", float), parse=_number
)
SECRET = Scalar(
    name="secret",
    schema=_TEXT,
    take=_check(
        lambda value: isinstance(value, str), 'a string such as "${NAME}" or "${file:/run/secrets/name}"', _secret
    ),
)
