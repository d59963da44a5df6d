"""Events, options and bodies of every shape, for the laws. Nothing here knows a vendor."""

from __future__ import annotations

import copy
import string
import typing
from datetime import UTC, datetime, timedelta, timezone
from typing import TYPE_CHECKING, Any

from hypothesis import strategies as st

from trackgate.fidelity import CARRIED
from trackgate.model import Context, Event, Kind

if TYPE_CHECKING:
    from trackgate.vendor import Options, Vendor

TRICKY = [name.replace("*", "x_a") for name in CARRIED.values()]
"""Names that a conversion may want for itself, ..."""
TRICKY += ["", ".", "a", "a.b", "a.b.c", "b", "b.c", "event", "event_name", "user_id", "name", "group", "context"]
TRICKY += ["email", "phone", "full_name", "user_email", "user_name", "ip_address", "properties", "$.a`", "x_a", "*"]
"""... or that mean something elsewhere, or that flattened names collide with."""

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=6)
FILLED = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=6)
MAYBE = st.none() | FILLED
KEYS = st.sampled_from(TRICKY) | TEXT
UNDECLARED = st.text(string.ascii_lowercase, max_size=2).map("x_{}".format)
"""Names that no dialect declares."""
SECRETS = st.text(string.ascii_letters + string.digits, min_size=1, max_size=8)

SCALARS = (
    st.none() | st.booleans() | st.integers(-(10**30), 10**30) | st.floats(allow_nan=False, allow_infinity=False) | TEXT
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3),
    max_leaves=6,
)
OBJECTS = st.dictionaries(KEYS, VALUES, max_size=5)
OFFSETS = st.integers(-14 * 60, 14 * 60).map(lambda minutes: timezone(timedelta(minutes=minutes)))
MOMENTS = st.datetimes(timezones=OFFSETS)
FINER = st.from_regex("[0-9]{0,5}[1-9]", fullmatch=True, alphabet=string.digits)
"""Digits of a second beyond the microsecond."""
RECEIVED = st.datetimes(datetime(2024, 1, 1), datetime(2034, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001 - bounds

KINDS: st.SearchStrategy[Kind] = st.sampled_from(("track", "track", "identify"))

CONTEXTS = st.builds(
    Context,
    ip=MAYBE,
    user_agent=MAYBE,
    group_id=MAYBE,
    session_id=MAYBE,
    device_id=MAYBE,
    origin=MAYBE,
    group=st.dictionaries(UNDECLARED, VALUES, max_size=2),
    other=st.dictionaries(UNDECLARED, VALUES, max_size=2),
)


@st.composite
def events(draw: st.DrawFn, vendors: list[str]) -> Event:
    """Any canonical event, of any of the dialects."""
    kind = draw(KINDS)
    timed = draw(st.sampled_from(["timestamp", "timestamp_raw", None]))
    return Event(
        id=str(draw(st.uuids())),
        vendor=draw(st.sampled_from(vendors)),
        source="web",
        received_at=draw(RECEIVED),
        kind=kind,
        name=draw(FILLED) if kind == "track" else "",
        user_id=draw(MAYBE),
        anonymous_id=draw(MAYBE),
        event_id=draw(MAYBE),
        timestamp=draw(MOMENTS) if timed == "timestamp" else None,
        timestamp_finer=draw(st.just("") | FINER) if timed == "timestamp" else "",
        timestamp_raw=draw(FILLED) if timed == "timestamp_raw" else None,
        properties=draw(OBJECTS),
        context=draw(CONTEXTS),
        identify=kind == "track" and draw(st.booleans()),
        extras=draw(st.dictionaries(UNDECLARED, VALUES, max_size=2)),
    )


def options(vendor: Vendor) -> st.SearchStrategy[Options]:
    """Any options that a destination of the vendor may have: from the Struct's own annotations."""
    hints = typing.get_type_hints(vendor.options)
    return st.builds(vendor.options, **{name: _option(hint) for name, hint in hints.items()})


@st.composite
def mutants(draw: st.DrawFn, body: Any) -> Any:
    """A body with one or two of its values replaced, removed or joined by another."""
    mutant = copy.deepcopy(body)
    for _ in range(draw(st.integers(1, 2))):
        holder = draw(st.sampled_from(list(_holders(mutant)) or [{}]))
        places = list(holder) if isinstance(holder, dict) else list(range(len(holder)))
        match draw(st.sampled_from(["replace", "remove", "add"])):
            case "replace" if places:
                holder[draw(st.sampled_from(places))] = draw(VALUES)
            case "remove" if places:
                del holder[draw(st.sampled_from(places))]
            case _ if isinstance(holder, dict):
                holder[draw(KEYS)] = draw(VALUES)
            case _:
                holder.append(draw(VALUES))
    return mutant


def _option(hint: Any) -> st.SearchStrategy[Any]:
    if hint is str:
        return SECRETS
    if str in typing.get_args(hint):
        return st.none() | SECRETS
    return st.from_type(hint)


def _holders(value: Any) -> typing.Iterator[Any]:
    """Each object and array in a JSON value, itself among them."""
    if isinstance(value, dict | list):
        yield value
        for inner in value.values() if isinstance(value, dict) else value:
            yield from _holders(inner)
