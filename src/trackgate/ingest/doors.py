"""Which source a call is for: by its path, and at the root by its credential. Pure.

At the root the *form* of the authentication narrows the sources that share a path, then the key decides. A wrong key is
a 401 and never falls through to a source without one.
"""

from __future__ import annotations

import hmac
from typing import TYPE_CHECKING

from msgspec import Struct

from trackgate.address import names_loopback
from trackgate.model import Problem, ProblemKind
from trackgate.vendor import Endpoint, Vendor

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from trackgate.config import Source


class Door(Struct, frozen=True):
    """Where a call comes in. ``keys`` are the source's, as they were at the start; empty for one without."""

    source: Source
    endpoint: Endpoint
    keys: tuple[bytes, ...] = ()


class Turned(Struct, frozen=True):
    """A call turned away at the door. ``vendor`` words it (``None``: nobody's path, so we do)."""

    problem: Problem
    vendor: Vendor | None = None
    source: str = ""


class Doors:
    """All the paths that the sources answer at.

    Args:
        sources: by name, as configured.

    """

    def __init__(self, sources: Mapping[str, Source]) -> None:
        self._sources = sources
        self._own: dict[str, Door] = {}
        self._root: dict[str, list[Door]] = {}
        for source in sources.values():
            keys = tuple(key.value().encode() for key in source.keys)
            for endpoint in source.vendor.endpoints:
                door = Door(source, endpoint, keys)
                self._own[f"/{source.name}{endpoint.path}"] = door
                self._root.setdefault(endpoint.path, []).append(door)

    def candidates(self, path: str) -> Sequence[Door]:
        """Every door at this path, whoever knocks."""
        own = self._own.get(path)
        return [own] if own is not None else self._root.get(path, [])

    def find(self, method: str, path: str, headers: Mapping[str, str]) -> Door | Turned:
        """The door that a call may use."""
        doors = self.candidates(path)
        if not doors:
            return self._nowhere(path, headers)
        named = path in self._own
        if method != "POST":
            vendor = _spoken(doors, headers)
            if vendor is None and not named and _spoken(self._own.values(), headers) is not None:
                return self._nowhere(path, headers)  # a call of a vendor that has nothing here
            problem = Problem(ProblemKind.METHOD, f"{method} is not taken here; send a POST.")
            return Turned(problem, vendor or doors[0].source.vendor, doors[0].source.name if len(doors) == 1 else "")
        found = self._admit(doors[0], headers) if named else _pick(path, doors, headers)
        if isinstance(found, Turned) or found.keys:
            return found
        return _stranger(found, headers) or found

    def _admit(self, door: Door, headers: Mapping[str, str]) -> Door | Turned:
        if not door.keys or _matches(door, door.source.vendor.credentials(headers)):
            return door
        return Turned(_unauthorized([door], headers), door.source.vendor, door.source.name)

    def _nowhere(self, path: str, headers: Mapping[str, str]) -> Turned:
        """A 404: in the words of the source that the path names, else of the vendor whose credential is shown."""
        first, _, _ = path.removeprefix("/").partition("/")
        source = self._sources.get(first)
        vendor = source.vendor if source is not None else _spoken(self._own.values(), headers)
        taken = sorted(self._root) if vendor is None else [each.path for each in vendor.endpoints]
        paths = ", ".join(taken if source is None else [f"/{first}{each}" for each in taken])
        problem = Problem(ProblemKind.NOT_FOUND, f"There is nothing at this path. POST is taken at {paths}.")
        return Turned(problem, vendor, source.name if source is not None else "")


def _spoken(doors: Iterable[Door], headers: Mapping[str, str]) -> Vendor | None:
    """The one vendor that a caller speaks, as far as its credential tells: by the key, else by the form."""
    shown = [(door, door.source.vendor.credentials(headers)) for door in doors]
    of_form = {door.source.vendor.name: door.source.vendor for door, keys in shown if keys}
    known = {door.source.vendor.name: door.source.vendor for door, keys in shown if keys and _matches(door, keys)}
    return next((next(iter(found.values())) for found in (known, of_form) if len(found) == 1), None)


def _pick(path: str, doors: Sequence[Door], headers: Mapping[str, str]) -> Door | Turned:
    of_form: list[Door] = []
    for door in doors:
        if keys := door.source.vendor.credentials(headers):
            if door.keys and _matches(door, keys):
                return door
            of_form.append(door)
    if len(of_form) == 1 and not of_form[0].keys:
        return of_form[0]
    if of_form:
        vendor = of_form[0].source.vendor
        keyless = [door for door in of_form if not door.keys]
        unclear = len(keyless) == len(of_form)
        problem = _ambiguous(path, keyless) if unclear else _unauthorized(of_form, headers)
        return Turned(problem, vendor, of_form[0].source.name if len(of_form) == 1 else "")
    keyless = [] if headers.get("authorization", "").strip() else [door for door in doors if not door.keys]
    if len(keyless) == 1:
        return keyless[0]
    problem = _ambiguous(path, keyless) if keyless else _unauthorized(doors, headers)
    return Turned(problem, doors[0].source.vendor)


def _matches(door: Door, presented: Iterable[str]) -> bool:
    """Whether any presented key is the source's; every pair is compared, in constant time, as bytes."""
    found = False
    for credential in presented:
        for key in door.keys:
            found |= hmac.compare_digest(credential.encode("utf-8", "surrogatepass"), key)
    return found


def _unauthorized(doors: Iterable[Door], headers: Mapping[str, str]) -> Problem:
    """What none of these doors opens to: an unknown key, or no key in a form that they read."""
    vendors = {door.source.vendor.name: door.source.vendor for door in doors}.values()
    forms = " or ".join(f"`{vendor.credential}`" for vendor in vendors)
    if any(vendor.credentials(headers) for vendor in vendors):
        words = f"The API key is not known here; it is read from {forms}."
    elif headers.get("authorization", "").strip():
        words = f"`Authorization` holds no credential in a form that is read here; send {forms}."
    else:
        return Problem(ProblemKind.UNAUTHORIZED, f"The API key is missing; send {forms}.", flaw="missing")
    return Problem(ProblemKind.UNAUTHORIZED, words, flaw="value")


def _ambiguous(path: str, doors: Sequence[Door]) -> Problem:
    ways = " or ".join(f"/{door.source.name}{path}" for door in doors)
    return Problem(
        ProblemKind.UNAUTHORIZED,
        f"Several sources without a key answer at {path}; name one: {ways}.",
        flaw="missing",
    )


def _stranger(door: Door, headers: Mapping[str, str]) -> Turned | None:
    """A source without a key is for this machine's programs, not for web pages that a browser here has open."""
    origin = headers.get("origin")
    if origin is not None and origin not in door.source.cors:
        words = "This source has no key and takes no call from this Origin; list it under `cors`, or give it a key."
    elif not names_loopback(headers.get("host", "")):
        words = "This source has no key and takes calls to a loopback Host only; call 127.0.0.1, or give it a key."
    else:
        return None
    return Turned(Problem(ProblemKind.FORBIDDEN, words), door.source.vendor, door.source.name)
