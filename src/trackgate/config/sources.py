"""The ``[sources.NAME]`` tables, and whether a call's path and credential tell one source from another."""

from __future__ import annotations

import re
from itertools import combinations
from typing import TYPE_CHECKING, Any

from trackgate.config.faults import quoted
from trackgate.config.model import Source
from trackgate.config.naming import check_name, find_vendor, reserved
from trackgate.config.reading import Broken, Scope, fields_of, read_table
from trackgate.config.secret import PLAIN
from trackgate.config.tables import Server, SourceTable

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from trackgate.config.faults import Faults
    from trackgate.config.lines import Place
    from trackgate.vendor import Vendor

_ORIGIN = re.compile(r"https?://(?:[A-Za-z0-9.-]+|\[[0-9A-Fa-f:.]+\])(?::[0-9]{1,5})?")


def build_sources(
    tables: Mapping[str, object], server: Server, vendors: Mapping[str, Vendor], scope: Scope
) -> dict[str, Source]:
    """Every source that can be built, by name."""
    taken = reserved(vendors.values())
    sources: dict[str, Source] = {}
    for name, raw in tables.items():
        check_name(name, ("sources", name), scope)
        if name in taken:
            words = f"reserved, since /{name} is a path of its own: give the source another name"
            scope.faults.error(("sources", name), words)
        source = _build(name, raw, vendors, scope)
        if source is not None:
            sources[name] = source
    if not tables:
        scope.faults.warn(("sources",), "there is none, so nothing can come in: write [sources.NAME]")
    _check_loopback(sources.values(), server, scope.faults)
    _check_apart(tuple(sources.values()), scope.faults)
    return sources


def _build(name: str, raw: object, vendors: Mapping[str, Vendor], scope: Scope) -> Source | None:
    place = ("sources", name)
    try:
        read = read_table(raw, fields_of(SourceTable), place, scope)
    except Broken:
        return None
    values = read.values
    secrets = _secrets(values)
    if not read.broken & {"key", "keys", "auth"}:
        _check_auth(values, place, scope.faults)
    for part, secret in secrets:
        if secret.literal:
            scope.faults.warn((*place, *part), PLAIN)
    for index, origin in enumerate(values.get("cors", ())):
        if not _ORIGIN.fullmatch(origin):
            words = 'must be an origin, scheme and host without a path: "https://app.example.com"'
            scope.faults.error((*place, "cors", index), words)
    vendor = find_vendor(values.get("vendor"), place, vendors, scope)
    if vendor is None:
        return None
    return Source(
        name=name,
        vendor=vendor,
        keys=tuple(secret for _, secret in secrets),
        auth="key" if secrets else values.get("auth", "key"),
        cors=values.get("cors", ()),
    )


def _secrets(values: Mapping[str, Any]) -> list[tuple[Place, Any]]:
    one: list[tuple[Place, Any]] = [(("key",), values["key"])] if "key" in values else []
    return one + [(("keys", index), secret) for index, secret in enumerate(values.get("keys", ()))]


def _check_auth(values: Mapping[str, Any], place: Place, faults: Faults) -> None:
    if "key" in values and values.get("keys"):
        faults.error((*place, "keys"), "write `key` or `keys`, not both")
    if values.get("auth") == "none" and _secrets(values):
        faults.error((*place, "auth"), 'has a key too: remove `auth = "none"`, or remove the key')
    if values.get("auth") != "none" and not _secrets(values):
        words = 'has no key: write key = "${NAME}", or auth = "none" to take calls without one (on loopback only)'
        faults.error(place, words)


def _check_loopback(sources: Iterable[Source], server: Server, faults: Faults) -> None:
    if server.address.loopback:
        return
    for source in sources:
        if source.keyless:
            words = 'takes calls without a key from other machines: give it key = "${NAME}", or listen on 127.0.0.1'
            faults.error(("sources", source.name, "auth"), words)


def _check_apart(sources: Sequence[Source], faults: Faults) -> None:
    for first, second in combinations(sources, 2):
        shared = sorted(_paths(first) & _paths(second))
        if not shared:
            continue
        same_form = _same_form(first.vendor, second.vendor)
        if same_form:
            _check_keys_apart(first, second, shared, faults)
        if second.keyless and (first.keyless or same_form):
            _warn_of_root(second, first, shared, same_form, faults)
        elif first.keyless and same_form:
            _warn_of_root(first, second, shared, same_form, faults)


def _check_keys_apart(first: Source, second: Source, shared: Sequence[str], faults: Faults) -> None:
    known = {secret.value() for secret in first.keys}
    for index, secret in enumerate(second.keys):
        if secret.value() in known:
            place: Place = ("sources", second.name)
            key: Place = ("key",) if faults.knows((*place, "key")) else ("keys", index)
            at = ", ".join(shared)
            words = f"is a key of sources.{quoted(first.name)} too, and both answer at {at}: give each its own"
            faults.error((*place, *key), words)


def _warn_of_root(source: Source, other: Source, shared: Sequence[str], same_form: bool, faults: Faults) -> None:  # noqa: FBT001
    at = ", ".join(shared)
    paths = ", ".join(f"/{name}{path}" for path in shared for name in (other.name, source.name))
    if same_form:
        words = f"nothing tells its calls from those of sources.{quoted(other.name)} at {at}"
    else:
        words = f"only the form of a credential tells its calls from those of sources.{quoted(other.name)} at {at}"
    faults.warn(("sources", source.name, "auth"), f"{words}: use {paths}, or give each a key")


def _same_form(one: Vendor, other: Vendor) -> bool:
    """Whether a credential of one vendor, in its own header, could be one of the other's."""
    return one is other or bool(
        one.credentials(other.sample("http://localhost", "key").headers)
        or other.credentials(one.sample("http://localhost", "key").headers)
    )


def _paths(source: Source) -> set[str]:
    return {endpoint.path for endpoint in source.vendor.endpoints}
