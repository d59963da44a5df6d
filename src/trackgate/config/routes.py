"""The ``[[routes]]``: what they name must be there, and what is there should be named."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from trackgate.config.faults import closest, did_you_mean, listed
from trackgate.config.naming import check_name, is_name, not_yet
from trackgate.config.reading import Broken, Scope, fields_of, read_table
from trackgate.config.tables import RouteTable
from trackgate.routing import Match, Route, opens_a_set

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from trackgate.config.faults import Faults
    from trackgate.config.lines import Place


def name_routes(tables: Sequence[object]) -> dict[int, str]:
    """The name of each route by its position: its own, else ``route-1``, ``route-2``, ..."""
    return {
        index: raw["name"] if isinstance(raw, dict) and is_name(raw.get("name")) else f"route-{index + 1}"
        for index, raw in enumerate(tables)
    }


def build_routes(
    tables: Sequence[object], sources: Collection[str], destinations: Collection[str], scope: Scope
) -> tuple[Route, ...]:
    """Every route. Where a part cannot be read, a route that names too much: that part has its fault already.

    Args:
        tables: what TOML has there.
        sources: the names that the file has, whether or not they could be built.
        destinations: the same.
        scope: what to read against.

    """
    names = name_routes(tables)
    routes: list[Route] = []
    for index, raw in enumerate(tables):
        place: Place = ("routes", index)
        try:
            values = read_table(raw, fields_of(RouteTable), place, scope, not_yet("routes")).values
        except Broken:
            values = {}
        if "name" in values:
            check_name(values["name"], (*place, "name"), scope)
        if names[index] in {route.name for route in routes}:
            scope.faults.error((*place, "name"), "another route has this name: give each its own")
        routes.append(_build(names[index], values, place, sources, destinations, scope))
    _check_named(routes, sources, destinations, scope.faults)
    return tuple(routes)


def _build(
    name: str,
    values: Mapping[str, Any],
    place: Place,
    sources: Collection[str],
    destinations: Collection[str],
    scope: Scope,
) -> Route:
    match: Match = values.get("match", Match())
    for key, words in (
        ("to", "goes nowhere: name a destination"),
        ("sources", "takes from no source: name one, or leave `from` away for every source"),
    ):
        if values.get(key) == ():
            scope.faults.error((*place, "from" if key == "sources" else key), words)
    for key in ("event", "kind"):
        if getattr(match, key) == ():
            words = "takes nothing: name something, or leave the key away for everything"
            scope.faults.error((*place, "match", key), words)
    for index, glob in enumerate(match.event or ()):
        if opens_a_set(glob):
            words = "its `[` is never closed, so it stands for itself: close it, or write `[[]` if that is meant"
            scope.faults.warn((*place, "match", "event", index), words)
    if match.event and match.kind == ("identify",):
        scope.faults.warn((*place, "match"), "takes nothing: an identify call has no name that `event` could match")
    to = _known(values.get("to", destinations), "destination", destinations, (*place, "to"), scope)
    stated = values.get("sources")
    taken = None if stated is None else frozenset(_known(stated, "source", sources, (*place, "from"), scope))
    return Route(name=name, to=to, sources=taken, match=match)


def _known(names: Collection[str], noun: str, known: Collection[str], place: Place, scope: Scope) -> tuple[str, ...]:
    """The names that are there; in the place of another the one that was probably meant."""
    for index, name in enumerate(names):
        if name not in known:
            words = f"unknown {noun}; there are {listed(known)}{did_you_mean(name, known)}"
            scope.faults.error((*place, index), words)
    meant = (name if name in known else closest(name, known) for name in names)
    return tuple(name for name in meant if name is not None)


def _check_named(
    routes: Sequence[Route], sources: Collection[str], destinations: Collection[str], faults: Faults
) -> None:
    for source in sources:
        if not any(route.sources is None or source in route.sources for route in routes):
            words = "no route takes from it, so its events would go nowhere: name it in a route's `from`"
            faults.warn(("sources", source), words)
    named = {destination for route in routes for destination in route.to}
    for destination in destinations:
        if destination not in named:
            faults.warn(("destinations", destination), "no route names it: name it in a route's `to`")
