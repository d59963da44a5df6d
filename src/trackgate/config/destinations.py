"""The ``[destinations.NAME]`` tables: the common keys, and beside them those of the vendor."""

from __future__ import annotations

import re
from contextlib import suppress
from typing import TYPE_CHECKING, Any
from urllib.parse import SplitResult, urlsplit

from trackgate.config.faults import listed
from trackgate.config.model import Destination
from trackgate.config.naming import check_name, find_vendor, not_yet
from trackgate.config.reading import Broken, Scope, fields_of, read_table
from trackgate.config.secret import PLACEHOLDER, PLAIN, Secret, is_readable
from trackgate.config.tables import DestinationTable, Server
from trackgate.retry import RetryPolicy

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from msgspec.inspect import Field

    from trackgate.config.faults import Faults
    from trackgate.config.lines import Place
    from trackgate.vendor import Vendor


_UNFIT = re.compile(r"[^!-~]")


def build_destinations(
    tables: Mapping[str, object], server: Server, vendors: Mapping[str, Vendor], scope: Scope
) -> dict[str, Destination]:
    """Every destination that can be built, by name; where a fault is noted of its key it gets one that stands in."""
    built: dict[str, Destination] = {}
    for name, raw in tables.items():
        place = ("destinations", name)
        check_name(name, place, scope)
        destination = _build(name, raw, vendors, scope)
        if destination is None:
            continue
        if _is_here(destination.url, server):
            words = "is this gateway itself, which would send to itself for ever: write the vendor's address"
            scope.faults.error((*place, "url"), words)
        built[name] = destination
    return built


def _build(name: str, raw: object, vendors: Mapping[str, Vendor], scope: Scope) -> Destination | None:
    place = ("destinations", name)
    stated = _stated_vendor(raw, vendors, scope)
    own = fields_of(*([stated.options] if stated else [vendor.options for vendor in vendors.values()]))
    common = fields_of(DestinationTable)
    try:
        read = read_table(raw, {**own, **common}, place, scope, _unknown(stated, vendors))
    except Broken:
        return None
    values = {field.name: read.values[field.name] for field in common.values() if field.name in read.values}
    vendor = find_vendor(values.pop("vendor", None), place, vendors, scope)
    url = _base_url(values.pop("url", None), (*place, "url"), scope.faults)
    _warn_of_plain(read.values, place, scope.faults)
    _check_retry(values.get("retry", RetryPolicy()), place, scope.faults)
    values.setdefault("key", Secret(PLACEHOLDER))  # that it is missing is noted, and must not hide what else is wrong
    missing = {field.name for field in own.values() if field.required} - read.values.keys()
    if vendor is None or missing or not isinstance(raw, dict):
        return None
    if url:
        _warn_of_path(url, vendor, (*place, "url"), scope.faults)
    chosen = {field: value for field, value in read.values.items() if field not in common}
    options = vendor.options(**{field: _plain(value) for field, value in chosen.items()})
    return Destination(
        **values,
        name=name,
        vendor=vendor,
        url=url or vendor.base_url(options).rstrip("/"),
        options=options,
        reread={own[key].name: secret for key, secret in _from_files(raw, own, scope)},
    )


def _stated_vendor(raw: object, vendors: Mapping[str, Vendor], scope: Scope) -> Vendor | None:
    """The vendor whose options the table may have; ``None`` where that is unclear, and all may be meant."""
    stated = raw.get("vendor") if isinstance(raw, dict) else None
    if not isinstance(stated, str):
        return None
    try:
        return vendors.get(Secret.read(stated, scope.environ).value())
    except (ValueError, OSError):
        return None


def _unknown(vendor: Vendor | None, vendors: Mapping[str, Vendor]) -> Callable[[str], str | None]:
    later = not_yet("destinations")

    def unknown(key: str) -> str | None:
        owners = [each.name for each in vendors.values() if key in fields_of(each.options)]
        if vendor is not None and owners:
            return f"unknown to {vendor.name}: it is an option of {listed(owners)}; remove it"
        return later(key)

    return unknown


def _plain(value: object) -> object:
    return value.credential() if isinstance(value, Secret) else value


def _from_files(raw: Mapping[str, object], own: Mapping[str, Field], scope: Scope) -> Iterator[tuple[str, Secret]]:
    """The options that a file has a say in."""
    for key, value in raw.items():
        if key not in own or not isinstance(value, str):
            continue
        with suppress(ValueError):  # a fault that is noted, or the sandbox's
            secret = Secret.read(value, scope.environ)
            if secret.from_file and is_readable(secret):
                yield key, secret


def _warn_of_plain(values: Mapping[str, Any], place: Place, faults: Faults) -> None:
    for key, value in values.items():
        if isinstance(value, Secret) and value.literal:
            faults.warn((*place, key), PLAIN)


def _check_retry(retry: RetryPolicy, place: Place, faults: Faults) -> None:
    if retry.max_delay < retry.base:
        faults.error((*place, "retry"), "`max_delay` must be at least `base`: raise the one or lower the other")


def _base_url(url: str | None, place: Place, faults: Faults) -> str | None:
    """A ``url`` without its trailing slash; ``None`` where there is none to use."""
    if url is None:
        return None
    parts = _split(url)
    if parts is None:
        faults.error(place, 'must be an address such as "https://host" or "http://host:8080/prefix"')
        return None
    surplus = []
    if "@" in parts.netloc:
        surplus.append("must not hold a user or password: the credential goes into `key`")
    if "?" in url or "#" in url:
        surplus.append("must have no query and no fragment: the vendor's path is put behind it")
    for words in surplus:
        faults.error(place, words)
    return None if surplus else url.rstrip("/")


def _warn_of_path(url: str, vendor: Vendor, place: Place, faults: Faults) -> None:
    """A whole address where a base was meant: the calls would go to a path that is there twice."""
    path = next((each.path for each in vendor.endpoints if url.endswith(each.path)), None)
    if path is not None:
        faults.warn(place, f"ends in the vendor's own path, which is put behind it: leave {path} off")


def _split(url: str) -> SplitResult | None:
    """The parts of an address that a call can be made to."""
    try:
        parts = urlsplit(url)
        fit = parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
    except ValueError:
        return None
    return parts if fit and not _UNFIT.search(url) else None


def _is_here(url: str, server: Server) -> bool:
    parts = urlsplit(url)
    port = parts.port or (443 if parts.scheme == "https" else 80)
    return server.address.reaches(parts.hostname or "", port)
