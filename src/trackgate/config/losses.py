"""What the routes lose on the way: the notes of the fullest event of each dialect, converted as each route would."""

from __future__ import annotations

from typing import TYPE_CHECKING, get_args

from trackgate.config.faults import did_you_mean, listed
from trackgate.exemplar import exemplar
from trackgate.fidelity import CARRIED, subject_of
from trackgate.model import Kind, Unsupported
from trackgate.vendor import Target

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from trackgate.config.faults import Faults
    from trackgate.config.model import Destination, Source
    from trackgate.routing import Route
    from trackgate.vendor import Options, Vendor

EXTRAS_AND_FORMS = frozenset({"arrays.changed", "objects.changed", "nulls.dropped", "extras.dropped", "name.dropped"})
"""What any dialect may do, whether or not a fullest event meets it."""


def check_losses(
    sources: Mapping[str, Source],
    destinations: Mapping[str, Destination],
    routes: Sequence[Route],
    vendors: Mapping[str, Vendor],
    faults: Faults,
) -> None:
    """Warn of what a destination will not hear and has not said to know of."""
    known = known_codes(vendors)
    for destination in destinations.values():
        place = ("destinations", destination.name, "lossy")
        allowed = destination.lossy.allow
        for index, code in enumerate(allowed):
            if code not in known:
                words = f"no such code{did_you_mean(code, known) or '; run `trackgate explain --matrix` to see them'}"
                faults.error((*place, "allow", index), words)
        lost: dict[str, dict[str, set[Kind]]] = {}
        for source, kind in _reaching(destination.name, sources, routes):
            for code in losses(source.vendor, destination.vendor, destination.options, kind) - set(allowed):
                lost.setdefault(code, {}).setdefault(source.name, set()).add(kind)
        if lost:
            faults.warn(place, _words(lost, allowed))


def losses(source: Vendor, destination: Vendor, options: Options, kind: Kind) -> frozenset[str]:
    """The codes of what the fullest event of a kind loses from one vendor to another.

    Where it cannot be said at all that is the reason, as ``no_user_id.unsupported``.
    """
    if all(endpoint.kind != kind for endpoint in source.endpoints):
        return frozenset()
    target = Target(url="http://localhost", key="key", options=options)
    try:
        notes = destination.encode(exemplar(source, kind), target).notes
    except Unsupported as unsupported:
        return frozenset({f"{unsupported.reason}.unsupported"})
    return frozenset(note.code for note in notes if note.lossy)


def known_codes(vendors: Mapping[str, Vendor]) -> frozenset[str]:
    """Every code that ``lossy.allow`` may have."""
    met = {
        code
        for source in vendors.values()
        for destination in vendors.values()
        for kind in get_args(Kind)
        for code in losses(source, destination, destination.options(), kind)
    }
    return frozenset(met | {f"{subject_of(pattern)}.dropped" for pattern in CARRIED} | EXTRAS_AND_FORMS)


def _reaching(destination: str, sources: Mapping[str, Source], routes: Sequence[Route]) -> set[tuple[Source, Kind]]:
    """The sources, and of them the kinds of event, that some route sends to a destination."""
    return {
        (source, kind)
        for route in routes
        if destination in route.to
        for source in sources.values()
        if route.sources is None or source.name in route.sources
        for kind in route.match.kind or get_args(Kind)
    }


def _words(lost: Mapping[str, Mapping[str, Collection[Kind]]], allowed: Sequence[str]) -> str:
    which = "; ".join(f"{code} ({_from(sources)})" for code, sources in sorted(lost.items()))
    allow = ", ".join(f'"{code}"' for code in (*allowed, *sorted(lost)))
    return f"events lose something here: {which}; if you can live with that: lossy = {{ allow = [{allow}] }}"


def _from(sources: Mapping[str, Collection[Kind]]) -> str:
    """Where events that lose something come from; an event is a track call unless more is said."""
    tracked = sorted(name for name, kinds in sources.items() if "track" in kinds)
    identified = sorted(sources.keys() - tracked)
    parts = [f"from {listed(tracked)}"] if tracked else []
    return "; ".join(parts + ([f"identify calls from {listed(identified)}"] if identified else []))
