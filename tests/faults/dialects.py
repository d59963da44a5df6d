"""The four dialects by hand: how a caller says an event, and what a destination's body must be for it.

What the gateway may make up itself (a time of receipt, its own id) is taken out of a body and looked at apart.
"""

from __future__ import annotations

import json
from datetime import datetime
from typing import TYPE_CHECKING, Any

from tests.faults.oracle import Minted

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

PATHS = {
    "userpilot": "/userpilot/v1/track",
    "flywheel": "/flywheel/v1/events",
    "thrivestack": "/thrivestack/api/track",
    "appizer": "/appizer/v1/events",
}
KEYS: Mapping[str, Mapping[str, str]] = {
    "userpilot": {"authorization": "Token in-userpilot"},
    "flywheel": {"authorization": "in-flywheel", "auth-type": "api"},
    "thrivestack": {"x-api-key": "in-thrivestack"},
    "appizer": {"authorization": "Bearer in-appizer"},
}
MADE_UP = "(made up by the gateway)"


def call(event: Minted) -> bytes:
    """The event as its source's caller sends it: an HTTP/1.1 request, whole."""
    body = json.dumps(_SAY[event.source](event), ensure_ascii=event.number % 2 == 0).encode()
    head = [f"POST {PATHS[event.source]} HTTP/1.1", "host: 127.0.0.1", "content-type: application/json"]
    head += [f"{name}: {value}" for name, value in KEYS[event.source].items()]
    return "\r\n".join([*head, f"content-length: {len(body)}", "", ""]).encode() + body


def mark_of(vendor: str, body: Any) -> object:
    """The mark that a destination's body bears; ``None`` where there is none in its place."""
    try:
        match vendor:
            case "userpilot":
                return body["metadata"]["mark"]
            case "flywheel":
                return body["event"]["properties"]["mark"]
            case "thrivestack":
                return body[0]["properties"]["mark"]
            case _:
                return body["properties"]["mark"]
    except (KeyError, IndexError, TypeError):
        return None


def is_as_owed(event: Minted, vendor: str, body: Any, our_id: str | None) -> bool:
    """Whether a destination's body is, to the last value, what it must be for this event."""
    return _same(_OWED[vendor](event), _without_made_up(event, vendor, body, our_id))


def _same(one: Any, other: Any) -> bool:
    """Equal as JSON: ``1`` is not ``true``, nor ``1.0``."""
    return json.dumps(one, sort_keys=True) == json.dumps(other, sort_keys=True)


def _without_made_up(event: Minted, vendor: str, body: Any, our_id: str | None) -> Any:
    """The body with a word in the place of what the gateway had to make up, if it is fit for that place."""
    if vendor == "flywheel" and isinstance(body, dict) and isinstance(body.get("event"), dict):
        inner = dict(body["event"])
        if event.timestamp is None and _is_moment(inner.get("timestamp")):
            inner["timestamp"] = MADE_UP
        if event.event_id is None and our_id is not None and inner.get("event_id") == our_id:
            inner["event_id"] = MADE_UP
        return {**body, "event": inner}
    if vendor == "thrivestack" and isinstance(body, list) and len(body) == 1 and isinstance(body[0], dict):
        inner = dict(body[0])
        if event.timestamp is None and _is_moment(inner.get("timestamp")):
            inner["timestamp"] = MADE_UP
        return [inner]
    return body


def _is_moment(text: object) -> bool:
    try:
        return isinstance(text, str) and datetime.fromisoformat(text).tzinfo is not None
    except ValueError:
        return False


def _stated(**fields: Any) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if value is not None}


# --- as callers say it ------------------------------------------------------------------------------------------


def _say_userpilot(event: Minted) -> Any:
    return {"user_id": event.user, "event_name": event.name, "metadata": event.properties}


def _say_flywheel(event: Minted) -> Any:
    inner = _stated(event=event.name, user_id=event.user, timestamp=event.timestamp, event_id=event.event_id)
    return {"event": {**inner, "properties": event.properties}}


def _say_thrivestack(event: Minted) -> Any:
    said = _stated(event_name=event.name, user_id=event.user, timestamp=event.timestamp)
    return [{**said, "properties": event.properties, "context": _stated(group_id=event.group)}]


def _say_appizer(event: Minted) -> Any:
    return {"event_name": event.name, "user_id": event.user, "properties": event.properties}


_SAY: Mapping[str, Callable[[Minted], Any]] = {
    "userpilot": _say_userpilot,
    "flywheel": _say_flywheel,
    "thrivestack": _say_thrivestack,
    "appizer": _say_appizer,
}

# --- as destinations must hear it ---------------------------------------------------------------------------------


def _owed_userpilot(event: Minted) -> Any:
    carried = _stated(timestamp=event.timestamp, event_id=event.event_id, group_id=event.group)
    return {"user_id": event.user, "event_name": event.name, "metadata": {**event.flat, **carried}}


def _owed_flywheel(event: Minted) -> Any:
    return {
        "event": {
            "event": event.name,
            "user_id": event.user,
            "timestamp": event.timestamp or MADE_UP,
            "event_id": event.event_id or MADE_UP,
            "properties": {**event.flat, **_stated(group_id=event.group)},
        }
    }


def _owed_thrivestack(event: Minted) -> Any:
    return [
        {
            "event_name": event.name,
            "user_id": event.user,
            "timestamp": event.timestamp or MADE_UP,
            "properties": {**event.properties, **_stated(event_id=event.event_id)},
            "context": {"source": "product", **_stated(group_id=event.group)},
        }
    ]


def _owed_appizer(event: Minted) -> Any:
    carried = _stated(timestamp=event.timestamp, event_id=event.event_id, group_id=event.group)
    return {"event_name": event.name, "user_id": event.user, "properties": {**event.properties, **carried}}


_OWED: Mapping[str, Callable[[Minted], Any]] = {
    "userpilot": _owed_userpilot,
    "flywheel": _owed_flywheel,
    "thrivestack": _owed_thrivestack,
    "appizer": _owed_appizer,
}
