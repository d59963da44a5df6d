"""What the routes lose on the way: the notes of the fullest event of each dialect, converted as each route would."""

from __future__ import annotations

from typing import TYPE_CHECKING

from trackgate.config.faults import did_you_mean, listed
from trackgate.fidelity import CARRIED
from trackgate.model import Unsupported
from trackgate.vendor import Target

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from trackgate.config.faults import Faults
    from trackgate.config.model import Destination, Source
    from trackgate.routing import Route
    from trackgate.vendor import Options, Vendor


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
        lost: dict[str, set[str]] = {}
        for source in _reaching(destination.name, sources, routes):
            for code in losses(source.vendor, destination.vendor, destination.options) - set(allowed):
                lost.setdefault(code, set()).add(source.name)
        if lost:
            faults.warn(place, _words(lost, allowed))


def losses(source: Vendor, destination: Vendor, options: Options) -> frozenset[str]:
    """The codes of what an event of one vendor can lose at another; a reason where it cannot be said at all."""
    try:
        from trackgate.exemplar import exemplar  # noqa: PLC0415 - STAND-IN
    except ImportError:
        return frozenset()
    target = Target(url="http://localhost", key="key", options=options)
    try:
        notes = destination.encode(exemplar(source), target).notes
    except Unsupported as unsupported:
        return frozenset({unsupported.reason})
    return frozenset(note.code for note in notes if note.lossy)


def known_codes(vendors: Mapping[str, Vendor]) -> frozenset[str]:
    """Every code that ``lossy.allow`` may have."""
    met = {
        code
        for source in vendors.values()
        for destination in vendors.values()
        for code in losses(source, destination, destination.options())
    }
    carried = {f"{pattern.removesuffix('.*').rpartition('.')[2]}.dropped" for pattern in CARRIED}
    return frozenset(met | carried | {"arrays.changed", "objects.changed", "nulls.dropped", "extras.dropped"})


def _reaching(destination: str, sources: Mapping[str, Source], routes: Sequence[Route]) -> list[Source]:
    return [
        source
        for source in sources.values()
        if any(destination in route.to and (route.sources is None or source.name in route.sources) for route in routes)
    ]


def _words(lost: Mapping[str, Collection[str]], allowed: Sequence[str]) -> str:
    which = "; ".join(f"{code} (from {listed(sorted(sources))})" for code, sources in sorted(lost.items()))
    allow = ", ".join(f'"{code}"' for code in (*allowed, *sorted(lost)))
    return f"events lose something here: {which}. Where that is known and fine: lossy = {{ allow = [{allow}] }}"
