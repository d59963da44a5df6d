"""Names and users are found, and events counted, whatever the vendor's format."""

from __future__ import annotations

import pytest

from trackgate.sandbox.contents import Contents, look


@pytest.mark.parametrize(
    ("body", "events", "users"),
    [
        (b'{"event_name": "e", "user_id": "u"}', ("e",), ("u",)),
        (b'{"event": "e", "user_id": "u", "anonymous_id": "a"}', ("e",), ("u", "a")),
        (b'{"event": {"event": "e", "user_id": "u"}}', ("e",), ("u",)),
        (b'[{"event_name": "e", "user_id": "u"}, {"event_name": "f", "user_id": "u"}]', ("e", "f"), ("u",)),
        (b'{"events": [{"event_name": "e"}, {"event_name": "f"}]}', ("e", "f"), ()),
        (b'{"event": "old", "event_name": "new"}', ("old", "new"), ()),
        (b'{"user_id": "u", "properties": {"event": "no", "user_id": "no"}}', (), ("u",)),
        (b'{"user_id": "", "event_name": 3}', (), ()),
        (b'{"a": {"b": {"event_name": "too deep"}}}', (), ()),
        (b"[1, null, []]", (), ()),
        (b"3", (), ()),
    ],
)
def test_names_and_users_are_found_at_most_one_envelope_deep(
    body: bytes, events: tuple[str, ...], users: tuple[str, ...]
) -> None:
    seen = look(body, None)
    assert (seen.events, seen.users, seen.is_json) == (events, users, True)


@pytest.mark.parametrize("body", [b"", b"{", b"\xff", b"[" * 100_000, b'{"a": NaN}'])
def test_what_is_no_json_holds_nothing(body: bytes) -> None:
    assert look(body, "events") == Contents()


@pytest.mark.parametrize(
    ("body", "envelope", "count"),
    [
        (b"[1, 2, 3]", None, 3),
        (b"[1, 2, 3]", "events", 3),
        (b'{"events": [{}, {}]}', "events", 2),
        (b'{"events": [{}, {}]}', None, 1),
        (b'{"events": [{}, {}], "users": [1, 2, 3]}', "events", 2),
        (b'{"users": [1, 2]}', "events", 1),
        (b'{"events": 2}', "events", 1),
        (b'{"events": []}', "events", 1),
        (b"[]", "events", 1),
        (b"3", "events", 1),
    ],
)
def test_events_are_counted_in_arrays_and_in_the_envelope_of_a_batch(
    body: bytes, envelope: str | None, count: int
) -> None:
    assert look(body, envelope).count == count
