"""The moves that all dialects share: each says exactly what it did."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trackgate.fidelity import CARRIED, Note, carry, facts, flatten, leave, own_extras, surviving, time_of
from trackgate.model import Context, Event

AT = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
KEYS = st.sampled_from(["a", "a.b", "a.b.c", "b", "b.c", "c", "", ".", "a."])
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3),
    max_leaves=8,
)
OBJECTS = st.dictionaries(KEYS, VALUES, max_size=6)


def event(**fields: Any) -> Event:
    return Event(id="id-1", vendor="one", source="web", received_at=AT, **{"name": "e", **fields})


FULL = event(
    user_id="u",
    anonymous_id="anon",
    event_id="evt",
    timestamp=datetime(2024, 1, 15, 16, 0, tzinfo=timezone(timedelta(hours=5, minutes=30))),
    identify=True,
    context=Context(
        ip="1.2.3.4",
        user_agent="ua/1",
        group_id="g",
        session_id="s",
        device_id="d",
        origin="product",
        group={"plan": "x"},
        other={"locale": "en"},
    ),
)


# --- facts and notes ------------------------------------------------------------------------------------------


def test_facts_are_what_the_caller_stated_and_nothing_else():
    assert facts(event(properties={"a": None}, extras={"x": 1})) == {
        "kind": "track",
        "name": "e",
        "properties.a": None,
        "extras.x": 1,
    }


def test_a_note_takes_its_field_away_and_leaves_what_it_became():
    said = event(anonymous_id="anon", properties={"a": 1})
    note = Note("anonymous_id", "changed", "anonymous_id", {"user_id": "anon"})
    assert surviving(said, [note]) == {"kind": "track", "name": "e", "user_id": "anon", "properties.a": 1}


def test_a_degraded_note_changes_nothing():
    said = event(user_id="u")
    assert surviving(said, [Note("group_id", "degraded", "context.group_id")]) == facts(said)


@pytest.mark.parametrize(
    ("kind", "lossy"),
    [("carried", False), ("made-up", False), ("changed", True), ("dropped", True), ("degraded", True)],
)
def test_a_note_is_lossy_where_the_destination_knows_less_or_otherwise(kind: Any, lossy: bool):
    note = Note("subject", kind, "field")
    assert note.lossy is lossy
    assert note.code == f"subject.{kind}"


# --- carrying -------------------------------------------------------------------------------------------------


def test_everything_without_a_field_is_carried_under_its_documented_name():
    notes: list[Note] = []
    assert carry(FULL, (), notes) == {
        "anonymous_id": "anon",
        "event_id": "evt",
        "timestamp": "2024-01-15T16:00:00+05:30",
        "identify": True,
        "ip": "1.2.3.4",
        "ua": "ua/1",
        "group_id": "g",
        "device_id": "d",
        "session_id": "s",
        "source": "product",
        "group.plan": "x",
        "context.locale": "en",
    }
    assert {note.kind for note in notes} == {"carried"}


def test_what_is_native_or_spoken_of_or_unstated_is_not_carried():
    notes = [Note("anonymous_id", "changed", "anonymous_id", {"user_id": "anon"})]
    native = set(CARRIED) - {"anonymous_id"}
    assert carry(FULL, native, notes) == {}
    assert carry(event(properties={"a": 1}), (), []) == {"a": 1}
    assert len(notes) == 1


def test_a_taken_name_keeps_its_value_and_what_wanted_it_is_dropped():
    notes: list[Note] = []
    said = event(properties={"ip": "mine"}, context=Context(ip="1.2.3.4"))
    assert carry(said, (), notes) == {"ip": "mine"}
    assert notes == [Note("ip", "dropped", "context.ip")]


def test_a_vendor_has_names_of_its_own():
    said = event(context=Context(ip="1.2.3.4"))
    assert carry(said, (), [], {**CARRIED, "context.ip": "ip_address"}) == {"ip_address": "1.2.3.4"}


def test_a_key_with_a_star_is_a_key_like_another():
    notes: list[Note] = []
    said = event(context=Context(other={"a*": 1}))
    assert carry(said, (), notes) == {"context.a*": 1}
    assert surviving(said, notes) == {"kind": "track", "name": "e", "properties.context.a*": 1}


def test_what_a_call_has_no_room_for_is_left_with_a_note():
    notes: list[Note] = []
    leave(FULL, {"context.group_id", "context.group.*"}, notes)
    assert {note.field for note in notes} == {
        "anonymous_id",
        "event_id",
        "timestamp",
        "identify",
        "context.ip",
        "context.user_agent",
        "context.device_id",
        "context.session_id",
        "context.origin",
        "context.other.locale",
    }
    assert {note.kind for note in notes} == {"dropped"}


def test_undeclared_fields_go_back_to_their_own_dialect_only():
    said = event(extras={"x": 1})
    notes: list[Note] = []
    assert own_extras(said, "one", notes) == {"x": 1}
    assert notes == []
    assert own_extras(said, "two", notes) == {}
    assert notes == [Note("extras", "dropped", "extras.x")]


def test_a_missing_time_is_the_time_of_arrival_and_noted():
    notes: list[Note] = []
    assert time_of(FULL, notes) == FULL.timestamp
    assert notes == []
    assert time_of(event(), notes) == AT
    assert notes == [Note("timestamp", "made-up", "timestamp", {"timestamp": AT})]


# --- flattening -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("properties", "nulls", "flat"),
    [
        ({"a": 1, "b": "x", "c": True, "d": 1.5}, False, {"a": 1, "b": "x", "c": True, "d": 1.5}),
        ({"a": {"b": {"c": 1}, "d": 2}}, False, {"a.b.c": 1, "a.d": 2}),
        ({"a": [1, {"b": None}]}, False, {"a": '[1,{"b":null}]'}),
        ({"a": {"b": [1]}}, False, {"a.b": "[1]"}),
        ({"a": {}, "b": {"c": {}}, "d": []}, False, {"a": "{}", "b.c": "{}", "d": "[]"}),
        ({"a": None, "b": {"c": None}}, True, {"a": None, "b.c": None}),
        ({"a": None, "b": {"c": None}}, False, {}),
        ({"a": {"b": None, "c": {"d": None, "e": 1}}}, False, {"a.c.e": 1}),
        # an object whose dotted keys would hide another property goes whole
        ({"a": {"b": 1}, "a.b": 2}, True, {"a": '{"b":1}', "a.b": 2}),
        ({"a.b": 2, "a": {"b": 1}}, True, {"a": '{"b":1}', "a.b": 2}),
        ({"a": {"b.c": 1}, "a.b": {"c": 2}}, True, {"a.b.c": 1, "a.b": '{"c":2}'}),
        ({"a": {"b": {"c": 1}, "b.c": 2}}, True, {"a": '{"b":{"c":1},"b.c":2}'}),
        # ... also where it is a null that would share the name, for then not even that is lost
        ({"a": {"b": None}, "a.b": 2}, False, {"a": '{"b":null}', "a.b": 2}),
        ({"a": {"b": {"c": None}, "b.c": 2}}, False, {"a": '{"b":{"c":null},"b.c":2}'}),
    ],
)
def test_objects_become_dotted_keys_and_arrays_json(properties: Any, nulls: bool, flat: Any):
    assert flatten(properties, [], nulls=nulls) == flat


def test_each_null_dropped_out_of_an_object_has_a_note_of_its_own():
    """Whoever lives with objects that are said in another form has not agreed to a loss."""
    notes: list[Note] = []
    flatten({"a": {"b": None, "c": {"d": None, "e": 1}}}, notes, nulls=False)
    assert notes == [
        Note("objects", "changed", "properties.a", {"properties.a.c.e": 1}),
        Note("nulls", "dropped", "properties.a.b"),
        Note("nulls", "dropped", "properties.a.c.d"),
    ]


@given(properties=OBJECTS)
def test_every_null_is_said_noted_as_dropped_or_inside_of_json(properties: Any):
    notes: list[Note] = []
    flat = flatten(properties, notes, nulls=False)
    kept = flatten(properties, [], nulls=True)
    dropped = [note.field for note in notes if note.code == "nulls.dropped"]
    assert dropped == [f"properties.{key}" for key in kept if key not in flat]
    assert {key: value for key, value in kept.items() if value is not None} == flat


@given(properties=OBJECTS, nulls=st.booleans())
def test_whatever_is_flattened_is_primitive_hides_nothing_and_is_noted_exactly(properties: Any, nulls: bool):
    before = msgspec.json.encode(properties)
    notes: list[Note] = []
    flat = flatten(properties, notes, nulls=nulls)
    assert msgspec.json.encode(properties) == before
    assert not any(isinstance(value, dict | list) for value in flat.values())
    assert nulls or None not in flat.values()
    untouched = {key: value for key, value in properties.items() if not isinstance(value, dict | list | None)}
    assert {key: flat[key] for key in untouched} == untouched
    said = event(properties=properties)
    assert surviving(said, notes) == facts(event(properties=flat))
