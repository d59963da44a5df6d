"""What passes between a worker's process and the one that has the outbox: frames, each its length and a msgpack list.

A frame carries everything that came together in one turn of the sender's event loop, so that it is one write and one
wake-up. Jobs go in as they are, numbered by whoever asks; what they are answered with comes back sorted by its form.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
from msgspec import Struct

from trackgate.outbox import Appended, Ledger, OutboxError, OutboxFull, OutboxUnavailable
from trackgate.outboxes.jobs import (
    Append,
    GiveBack,
    Handed,
    NextDue,
    Reject,
    Settle,
    Stand,
    Take,
    TakeHeld,
    TakeLive,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

HEAD = 4
"""Bytes of a frame's length, the highest first."""

MOST_FRAME = 2**30
"""Bytes of a frame; a longer one ends the connection."""

FULL = 2**20
"""Bytes of events after which a frame is sent, and another begun."""


class GiveUp(Struct, array_like=True, tag=True):
    """The callers of these appends wait no more: those that were not begun are not to be stored."""

    numbers: list[int]


class Known(Struct, frozen=True, array_like=True):
    """The destinations with news, with live ones and with held ones, as of one commit."""

    news: frozenset[str] = frozenset()
    live: frozenset[str] = frozenset()
    held: frozenset[str] = frozenset()


class Failure(Struct, frozen=True, array_like=True):
    """Why a job was not done. ``limit`` is that of an ``OutboxFull``, and ``None`` for every other error."""

    words: str
    limit: str | None = None
    destination: str | None = None
    unavailable: bool = False

    @classmethod
    def of(cls, error: BaseException) -> Failure:
        """An error that is to travel."""
        match error:
            case OutboxFull(limit=limit, destination=destination):
                return cls(str(error), limit, destination)
            case OutboxError():
                return cls(str(error), unavailable=isinstance(error, OutboxUnavailable))
            case _:
                return cls(f"{type(error).__name__}: {error}")

    def error(self) -> OutboxError:
        """The error where it arrives. One that is not the outbox's own arrives as ``OutboxError``."""
        match self.limit:
            case "backlog" | "destination_backlog" | "disk" as limit:
                return OutboxFull(limit, self.destination)
            case _:
                return OutboxUnavailable(self.words) if self.unavailable else OutboxError(self.words)


class Message(Struct, array_like=True):
    """What a worker hears: answers by the numbers of its jobs, what it knows without asking, who is to be woken.

    ``known`` and ``ledger`` are ``None`` where they have not changed (or not for long enough) since they were told.
    """

    stored: list[tuple[int, list[Appended]]] = []
    handed: list[tuple[int, list[Handed]]] = []
    plain: list[tuple[int, int | None]] = []
    failed: list[tuple[int, Failure]] = []
    known: Known | None = None
    ledger: Ledger | None = None
    owed: frozenset[str] = frozenset()
    retried: frozenset[str] = frozenset()


Request = Append | Take | TakeLive | TakeHeld | Settle | GiveBack | NextDue | Stand | Reject | GiveUp
"""What a worker says."""

decode_requests = msgspec.msgpack.Decoder(list[Request]).decode
decode_message = msgspec.msgpack.Decoder(Message).decode

_encoder = msgspec.msgpack.Encoder()


class GarbledError(Exception):
    """The bytes are no frame."""


def frame(said: Message | Sequence[Any]) -> bytearray:
    """A frame to send."""
    buffer = bytearray(HEAD)
    _encoder.encode_into(said, buffer, HEAD)
    buffer[:HEAD] = (len(buffer) - HEAD).to_bytes(HEAD)
    return buffer


class Frames:
    """Cuts what arrives into frames."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: bytes) -> Iterator[bytes]:
        """The frames that are whole now, without their lengths.

        Raises:
            GarbledError: one would be larger than any frame is.

        """
        self._buffer += data
        start = 0
        while len(self._buffer) >= start + HEAD:
            end = start + HEAD + int.from_bytes(self._buffer[start : start + HEAD])
            if end - start > MOST_FRAME:
                raise GarbledError(f"a frame of {end - start} bytes")
            if len(self._buffer) < end:
                break
            yield bytes(self._buffer[start + HEAD : end])
            start = end
        del self._buffer[:start]
