"""The ``[server]`` table: the file's word, then the variables', then the command line's."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any

from msgspec.structs import replace

from trackgate.address import Address
from trackgate.config.kinds import kind_of
from trackgate.config.reading import Broken, Scope, fields_of, from_text, read_table
from trackgate.config.secret import PLAIN, Secret
from trackgate.config.tables import Server

if TYPE_CHECKING:
    from collections.abc import Mapping

Overrides = dict[str, tuple[str, str]]
"""Key of ``[server]`` -> where it is said instead of in the file, and the text there."""

PREFIX = "TRACKGATE_"


def variable(key: str) -> str:
    """The variable that overrides a key of ``[server]``."""
    return PREFIX + key.upper()


def overriding(environ: Mapping[str, str], flags: Mapping[str, str]) -> Overrides:
    """What is said outside the file. Other ``TRACKGATE_*`` variables are not ours: Kubernetes injects such."""
    said: Overrides = {}
    for key in fields_of(Server):
        if key in flags:
            said[key] = (f"--{key.replace('_', '-')}", flags[key])
        elif variable(key) in environ:
            said[key] = (variable(key), environ[variable(key)])
    return said


def build_server(raw: object, overrides: Overrides, scope: Scope) -> Server:
    """The server, with the default in the place of what cannot be read."""
    fields = fields_of(Server)
    values: dict[str, Any] = {}
    with suppress(Broken):
        values.update(read_table(raw, fields, ("server",), scope).values)
    for key, value in values.items():
        if isinstance(value, Secret) and value.literal:
            scope.faults.warn(("server", key), PLAIN)
    for key, (place, text) in overrides.items():
        try:
            values[key] = from_text(text, kind_of(fields[key].type))
        except ValueError as error:
            scope.faults.outside(place, ("server", key), str(error))
    try:
        Address.read(values.get("listen", "127.0.0.1:8080"))
    except ValueError as error:
        _fault("listen", str(error), overrides, scope)
        del values["listen"]
    server = Server(**values)
    if server.dedupe_window >= server.retention:
        return server
    if "dedupe_window" in values:
        _fault("dedupe_window", "must be at least `retention`: raise it, or lower `retention`", overrides, scope)
    return replace(server, dedupe_window=server.retention)


def _fault(key: str, message: str, overrides: Overrides, scope: Scope) -> None:
    if key in overrides:
        scope.faults.outside(overrides[key][0], ("server", key), message)
    else:
        scope.faults.error(("server", key), message)
