"""The calls that are sent: whole HTTP requests, made beforehand, one a user, so that sending costs next to nothing.

They lie in a file, parted by NUL (which JSON never holds as it is), that wrk's script and our own generator read alike.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec

KEY = "in-key"
"""What every source of the measured gateway asks for."""
BATCH = 1000
"""Events a call at the batch endpoint: as many as its vendor allows."""
SMALL = 0.3
"""KB of properties where a case does not say otherwise."""

PROPERTIES = {
    "plan": "pro",
    "amount": 42.5,
    "currency": "EUR",
    "items": 3,
    "coupon": "SPRING",
    "referrer": "newsletter",
    "city": "Berlin",
    "theme": "dark",
    "variant": "b",
    "returning": True,
}


def properties(kilobytes: float) -> dict[str, Any]:
    """Flat properties whose JSON is of this size, in KB of 1000 bytes; never less than ``PROPERTIES``."""
    made: dict[str, Any] = dict(PROPERTIES)
    room = int(kilobytes * 1000) - len(msgspec.json.encode(made))
    for number in range(room // 100):
        made[f"field_{number:04}"] = "x" * 84  # with its name and punctuation: 100 bytes
    return made


def single(users: int, kilobytes: float = SMALL) -> Iterator[bytes]:
    """One event a call, in the Userpilot dialect."""
    for user in range(users):
        body = {"user_id": _user(user), "event_name": "order_completed", "metadata": properties(kilobytes)}
        yield _request("/single/v1/track", f"authorization: Token {KEY}", body)


def large(users: int, kilobytes: float) -> Iterator[bytes]:
    """One event a call, in the Appizer dialect, which documents no limit to the properties."""
    for user in range(users):
        body = {"user_id": _user(user), "event_name": "order_completed", "properties": properties(kilobytes)}
        yield _request("/large/v1/events", f"authorization: Bearer {KEY}", body)


def batches(users: int) -> Iterator[bytes]:
    """``BATCH`` events a call, in the ThriveStack dialect; fewer where there are fewer users."""
    made = [
        {"event_name": "order_completed", "user_id": _user(user), "properties": properties(SMALL)}
        for user in range(users)
    ]
    for start in range(0, users, BATCH):
        yield _request("/batch/api/track", f"x-api-key: {KEY}", made[start : start + BATCH])


def write(path: Path, requests: Iterator[bytes]) -> Path:
    """Put requests into a file; the file."""
    path.write_bytes(b"\0".join(requests))
    return path


def read(path: Path) -> list[bytes]:
    """The requests of a file."""
    return path.read_bytes().split(b"\0")


def body_of(request: bytes) -> bytes:
    """What follows the head."""
    return request.partition(b"\r\n\r\n")[2]


def _user(number: int) -> str:
    return f"user-{number}"


def _request(path: str, credential: str, body: object) -> bytes:
    content = msgspec.json.encode(body)
    head = [
        f"POST {path} HTTP/1.1",
        "host: 127.0.0.1",
        "content-type: application/json",
        credential,
        f"content-length: {len(content)}",
    ]
    return "\r\n".join([*head, "", ""]).encode() + content
