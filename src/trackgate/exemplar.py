"""The fullest event that a dialect can state: what the fidelity table and ``check`` convert to see what is lost."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from typing import TYPE_CHECKING, Any

from msgspec import structs

from trackgate.model import Context, Event, Kind
from trackgate.vendor import Target

if TYPE_CHECKING:
    from collections.abc import Mapping

    from trackgate.fidelity import Note
    from trackgate.vendor import Vendor

SOURCE = "exemplar"

MOMENT = datetime(2024, 1, 15, 10, 30, 0, 123_000, tzinfo=timezone(timedelta(hours=5, minutes=30)))


def exemplar(vendor: Vendor, kind: Kind = "track") -> Event:
    """The fullest event of a kind that a vendor's own callers can state, and its own format keeps untouched.

    It is found and not listed: an event with everything is said in the vendor's format, and whatever the notes speak
    of is no part of the dialect.

    Raises:
        ValueError: the vendor takes no call of this kind.

    """
    if all(endpoint.kind != kind for endpoint in vendor.endpoints):
        raise ValueError(f"{vendor.title} takes no {kind} call")
    full = _everything(vendor, kind)
    notes = vendor.encode(full, Target(url="", key="", options=vendor.options())).notes
    return _untouched(full, {note.field: note for note in notes if note.kind != "degraded"})


def _everything(vendor: Vendor, kind: Kind) -> Event:
    return Event(
        id="01893e1a-7b00-7000-8000-000000000000",
        vendor=vendor.name,
        source=SOURCE,
        received_at=MOMENT.astimezone(UTC),
        kind=kind,
        name="Plan Upgraded" if kind == "track" else "",
        user_id="user_123",
        anonymous_id="anon_789",
        event_id="evt_456",
        timestamp=MOMENT,
        properties={
            "plan": "premium",
            "price": 29.99,
            "seats": 5,
            "trial": False,
            "email": "john.doe@company.com",
            "coupon": None,
            "address": {"city": "Pune", "geo": {"lat": 18.52}},
            "tags": ["a", "b"],
        },
        context=Context(
            ip="192.168.1.1",
            user_agent="Mozilla/5.0",
            group_id="acct_42",
            session_id="sess_1",
            device_id="dev_1",
            origin="product",
            group={"plan": "enterprise"},
            other={"locale": "en-IN"},
        ),
        identify=kind == "track",
    )


def _untouched(full: Event, touched: Mapping[str, Note]) -> Event:
    """The event without what the notes speak of; a field that only took another form is stated in that form."""

    def left(values: Mapping[str, Any], at: str) -> dict[str, Any]:
        return {key: value for key, value in values.items() if f"{at}{key}" not in touched}

    def said(field: str, value: Any) -> Any:
        return touched[field].became.get(field) if field in touched else value

    context = left(structs.asdict(full.context), "context.")
    context["group"] = left(full.context.group, "context.group.")
    context["other"] = left(full.context.other, "context.other.")
    return structs.replace(
        full,
        name=said("name", full.name),
        anonymous_id=said("anonymous_id", full.anonymous_id),
        event_id=said("event_id", full.event_id),
        timestamp=said("timestamp", full.timestamp),
        identify="identify" not in touched and full.identify,
        properties=left(full.properties, "properties."),
        context=Context(**context),
    )
