"""Which destinations an event is owed to: decided once, at acceptance, by pure matching."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from fnmatch import translate

from msgspec import Struct

from trackgate.model import Event, Kind


class Match(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which events a route takes: AND across the keys, OR within a list. A missing key matches everything."""

    event: tuple[str, ...] | None = None
    """Globs (`*`, `?`, `[abc]`) on the event's name, case-sensitive. Identify calls have no name and never match."""
    kind: tuple[Kind, ...] | None = None
    """`track`, `identify` or both."""


class Route(Struct, frozen=True, kw_only=True):
    """Which sources and events go to which destinations. ``sources`` is ``None`` for every source."""

    name: str
    to: tuple[str, ...]
    sources: frozenset[str] | None = None
    match: Match = Match()


class Routed(Struct, frozen=True):
    """Where an event goes. ``filtered``: named by a route from its source, matched by none of them."""

    owed: frozenset[str]
    filtered: frozenset[str]


class _Ways(Struct, frozen=True):
    """The routes from one source: every destination that they name, and each route's own with its match."""

    named: frozenset[str]
    routes: list[tuple[frozenset[str], Callable[[Event], bool]]]


_NOWHERE: frozenset[str] = frozenset()

_SET = re.compile(r"\[!?+\]?+[^\]]*+\]")
"""A ``[abc]`` of a glob, closed as ``fnmatch`` has it: a ``]`` that comes first is one of the characters."""


class Router:
    """The routes, made ready for matching.

    Args:
        routes: as configured.
        filters: destination -> whether it asks not to be owed this event (its vendor's options).

    """

    def __init__(self, routes: Iterable[Route], filters: Mapping[str, Callable[[Event], bool]]) -> None:
        self._routes = [(route, _matcher(route.match)) for route in routes]
        self._filters = filters
        self._by_source: dict[str, _Ways] = {}

    def route(self, event: Event) -> Routed:
        """The destinations that this event is owed to, and those that it was kept from."""
        ways = self._by_source.get(event.source)
        if ways is None:
            ways = self._by_source[event.source] = self._ways(event.source)
        matched = [to for to, matches in ways.routes if matches(event)]
        owed = matched[0] if len(matched) == 1 else _NOWHERE.union(*matched)
        for destination in owed:
            if self._filters[destination](event):
                owed -= {destination}
        return Routed(owed, ways.named - owed)

    def _ways(self, source: str) -> _Ways:
        routes = [each for each in self._routes if each[0].sources is None or source in each[0].sources]
        ways = [(frozenset(route.to), matches) for route, matches in routes]
        return _Ways(_NOWHERE.union(*(to for to, _ in ways)), ways)

    def explain(self, event: Event) -> list[tuple[Route, str | None]]:
        """Each route with why it passed the event by, or ``None`` where it took it."""
        return [(route, _why_not(route, matches, event)) for route, matches in self._routes]


def opens_a_set(glob: str) -> bool:
    """Whether a ``[`` in the glob is never closed, and so stands for itself."""
    return "[" in _SET.sub("", glob)


def _why_not(route: Route, matches: Callable[[Event], bool], event: Event) -> str | None:
    if route.sources is not None and event.source not in route.sources:
        return f"from: {', '.join(sorted(route.sources))} (not {event.source})"
    return None if matches(event) else "match: the event is not among those it takes"


def _matcher(match: Match) -> Callable[[Event], bool]:
    globs = None if match.event is None else [re.compile(translate(glob)) for glob in match.event]

    def matches(event: Event) -> bool:
        if match.kind is not None and event.kind not in match.kind:
            return False
        return globs is None or (event.kind == "track" and any(glob.match(event.name) for glob in globs))

    return matches
