"""What would happen to a call, without doing it: the events it says, where they would go and why, as what bytes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import Struct

from trackgate.exemplar import exemplar
from trackgate.masking import MaskedCall, masked
from trackgate.model import Call, Event, Receipt, Unsupported
from trackgate.routing import Router
from trackgate.vendor import Endpoint, Target

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from trackgate.config import Config, Destination
    from trackgate.fidelity import Note
    from trackgate.vendor import Vendor

SYMBOLS = {"carried": "P", "changed": "~", "made-up": "+", "dropped": "-", "degraded": "!"}
"""How the table writes the kinds of notes."""


class Passed(Struct, frozen=True):
    """A route, and why it passed the event by (``None``: it took it)."""

    route: str
    to: tuple[str, ...]
    why_not: str | None


class Going(Struct, frozen=True):
    """What one destination would get of an event. ``unsupported`` says why it can get nothing."""

    destination: str
    vendor: str
    calls: tuple[MaskedCall, ...] = ()
    notes: tuple[Note, ...] = ()
    unsupported: str | None = None


class Explained(Struct, frozen=True):
    """One event of a call."""

    event: Event
    notes: tuple[Note, ...]
    routes: tuple[Passed, ...]
    owed: tuple[Going, ...]
    filtered: tuple[str, ...]


def explain(config: Config, source: str, endpoint: Endpoint, body: bytes, now: datetime) -> tuple[Explained, ...]:
    """What a call to a source's endpoint would come to.

    Raises:
        Problem: it would be turned away.

    """
    vendor = config.sources[source].vendor
    call = Call(url=endpoint.path, headers={}, body=body)
    mint = iter(f"event-{number}" for number in range(1, 1 << 20))
    decoded = vendor.decode(call, endpoint, Receipt(source, now, lambda: next(mint)))
    filters = {name: destination.filters for name, destination in config.destinations.items()}
    router = Router(config.routes, filters)
    return tuple(_explain(config, router, each.event, each.notes) for each in decoded)


def _explain(config: Config, router: Router, event: Event, notes: tuple[Note, ...]) -> Explained:
    routed = router.route(event)
    return Explained(
        event=event,
        notes=notes,
        routes=tuple(Passed(route.name, route.to, why) for route, why in router.explain(event)),
        owed=tuple(going(config.destinations[name], event) for name in sorted(routed.owed)),
        filtered=tuple(sorted(routed.filtered)),
    )


def going(destination: Destination, event: Event) -> Going:
    """What a destination would get of an event."""
    try:
        encoded = destination.vendor.encode(event, destination.target())
    except Unsupported as error:
        return Going(destination.name, destination.vendor.name, unsupported=f"{error.reason}: {error.detail}")
    calls = tuple(masked(call, destination.vendor.credentials(call.headers)) for call in encoded.calls)
    return Going(destination.name, destination.vendor.name, calls, encoded.notes)


def kept_out(destination: Destination, event: Event) -> str:
    """Why a destination does not get an event that was filtered from it."""
    if destination.filters(event):
        return f"the options of destinations.{destination.name} keep this event out"
    return "no route that names it lets this event through"


# --- the fidelity table ---------------------------------------------------------------------------------------


def cell(source: Vendor, destination: Vendor) -> tuple[str, ...]:
    """The codes of what becomes of the fullest event of one dialect in another, each once, in order."""
    options = destination.options()
    target = Target(url=destination.base_url(options), key="KEY", options=options)
    try:
        notes = destination.encode(exemplar(source), target).notes
    except Unsupported as error:
        return (f"{error.reason}.unsupported",)
    return tuple(dict.fromkeys(note.code for note in notes))


def cells(vendors: Mapping[str, Vendor]) -> dict[str, dict[str, tuple[str, ...]]]:
    """The cell of every pair: the vendor that an event comes from, then the one that it goes to."""
    return {
        source: {destination: cell(vendor, other) for destination, other in vendors.items()}
        for source, vendor in vendors.items()
    }


def matrix(vendors: Mapping[str, Vendor]) -> str:
    """The fidelity of every pair, as a Markdown table."""
    titles = [vendor.title for vendor in vendors.values()]
    lines = [f"| from \\ to | {' | '.join(titles)} |", "|" + " --- |" * (len(titles) + 1)]
    for source, row in cells(vendors).items():
        lines.append(f"| **{vendors[source].title}** | {' | '.join(map(_spelled, row.values()))} |")
    return "\n".join(lines)


def _spelled(codes: tuple[str, ...]) -> str:
    """Codes by kind: ``P event_id timestamp; - nulls``."""
    by_kind: dict[str, list[str]] = {}
    for code in codes:
        subject, _, kind = code.rpartition(".")
        by_kind.setdefault(kind, []).append(subject)
    parts = [f"{SYMBOLS.get(kind, kind)} {', '.join(subjects)}" for kind, subjects in by_kind.items()]
    return "; ".join(parts) or "all native"
