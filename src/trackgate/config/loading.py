"""From a file to a configuration: pure but for reading that file and those that its secrets stand in."""

from __future__ import annotations

import re
import tomllib
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from trackgate import vendors as dialects
from trackgate.config.destinations import build_destinations
from trackgate.config.faults import Fault, Faults, did_you_mean
from trackgate.config.lines import locate
from trackgate.config.losses import check_losses
from trackgate.config.model import Config
from trackgate.config.naming import not_yet
from trackgate.config.reading import Scope
from trackgate.config.routes import build_routes, name_routes
from trackgate.config.server import build_server, overriding
from trackgate.config.sources import build_sources

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from trackgate.vendor import Vendor

TABLES = ("server", "sources", "destinations", "routes")


def load(
    path: Path,
    environ: Mapping[str, str],
    overrides: Mapping[str, str],
    *,
    sandbox: bool = False,
    vendors: Mapping[str, Vendor] | None = None,
) -> tuple[Config | None, tuple[Fault, ...]]:
    """Read and check a configuration.

    Args:
        path: of ``routes.toml``.
        environ: the variables.
        overrides: what the command line says of ``[server]``, by key.
        sandbox: whether destinations are only emulated: their credentials may be missing.
        vendors: the dialects to know, if not all.

    Returns:
        The configuration, or ``None`` where any fault is an error; and every fault, in the order of the lines.

    """
    parsed = _parsed(path)
    if isinstance(parsed, Fault):
        return None, (parsed,)
    text, document = parsed
    faults = Faults(str(path), locate(text), name_routes(_list(document.get("routes"))))
    scope = Scope(faults, environ)
    for key in document.keys() - TABLES:
        faults.error((key,), not_yet("")(key) or f"unknown table{did_you_mean(key, TABLES)}")
    known = vendors or dialects.load()
    server = build_server(document.get("server", {}), overriding(environ, overrides), scope)
    tables = _tables(document, "sources", faults), _tables(document, "destinations", faults)
    sources = build_sources(tables[0], server, known, scope)
    destinations = build_destinations(tables[1], server, known, Scope(faults, environ, forgiving=sandbox))
    if not isinstance(document.get("routes", []), list):
        faults.error(("routes",), "must be a list of tables: write [[routes]]")
    routes = build_routes(_list(document.get("routes")), *tables, scope)
    check_losses(sources, destinations, routes, known, faults)
    found = faults.all()
    if any(fault.level == "error" for fault in found):
        return None, found
    config = Config(
        server=server,
        sources=MappingProxyType(sources),
        destinations=MappingProxyType(destinations),
        routes=routes,
        path=path,
    )
    return config, found


def _parsed(path: Path) -> tuple[str, dict[str, Any]] | Fault:
    """The text of the file and what it says, or why it cannot be read."""
    try:
        text = path.read_bytes().decode().replace("\r\n", "\n")
        return text, tomllib.loads(text)
    except OSError as error:
        words = f"cannot be read ({error.strerror}): write one, or name another with --config"
        return Fault("error", str(path), None, "", words)
    except (ValueError, RecursionError) as error:
        return _not_toml(path, error)


def _not_toml(path: Path, error: Exception) -> Fault:
    """A file that is no TOML: the first place where it is not. ``tomllib`` words that without the values."""
    if isinstance(error, UnicodeDecodeError):
        broken = error.object[: error.start].count(b"\n") + 1
        return Fault("error", str(path), broken, "", "not UTF-8 text: save it as UTF-8")
    if isinstance(error, RecursionError):
        return Fault("error", str(path), None, "", "nested too deep")
    words, _, where = str(error).partition(" (at ")
    stated = re.match(r"line ([0-9]+)", where)
    line = int(stated[1]) if stated else None
    return Fault("error", str(path), line, "", f"not TOML: {words or 'a value out of range'}")


def _list(raw: object) -> list[Any]:
    return raw if isinstance(raw, list) else []


def _tables(document: Mapping[str, object], key: str, faults: Faults) -> dict[str, object]:
    raw = document.get(key, {})
    if isinstance(raw, dict):
        return raw
    faults.error((key,), f"must be tables: write [{key}.NAME]")
    return {}
