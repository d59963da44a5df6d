"""Reads what the emulated vendors got, as it comes, and looks at each body at once; nothing may pass unread."""

from __future__ import annotations

import threading
import time
from collections import Counter, defaultdict
from datetime import datetime
from typing import TYPE_CHECKING, Any

import httpx
import msgspec
from msgspec import Struct, field

from tests.faults import dialects
from tests.program.running import until

if TYPE_CHECKING:
    from tests.faults.oracle import Oracle

PAGE = 2_000
"""Calls that are read at a time: a fifth of what the emulator remembers."""

PAUSE = 0.1
"""Seconds between two looks."""


class FellBehind(Exception):  # noqa: N818 - what happened
    """The emulator forgot calls before they were read: what was measured is worth nothing. Send slower."""


class Call(Struct):
    """A call that an emulated vendor got, as the emulator shows it."""

    n: int
    at: datetime
    vendor: str
    status: int | None
    body: Any = None
    problems: list[Any] = []
    failed: bool = False
    trackgate_event_id: str | None = None


class Seen(Struct):
    """What came in, by vendor. ``arrived`` is an event's number -> how often the vendor said yes to it."""

    arrived: dict[str, Counter[int]] = field(default_factory=lambda: defaultdict(Counter))
    ids: dict[int, str | None] = field(default_factory=dict)
    """An event's number -> the gateway's id of it, as it first came in."""
    altered: list[str] = field(default_factory=list)
    spurious: list[str] = field(default_factory=list)
    turned_away: int = 0
    """Calls that the vendor was told to fail, or whose reply was cut off before it was taken."""
    at: dict[str, dict[int, float]] = field(default_factory=lambda: defaultdict(dict))
    """When an event first came in, in wall-clock seconds, by vendor and number; kept where it is asked for."""

    def take(self, call: Call, oracle: Oracle, *, timed: bool) -> None:
        """Look at one call."""
        number = oracle.number_of(dialects.mark_of(call.vendor, call.body))
        if number is None:
            self.spurious.append(f"{call.vendor} got what nobody sent: {str(call.body)[:200]}")
            return
        if not dialects.is_as_owed(oracle.mint(number), call.vendor, call.body, call.trackgate_event_id):
            self.altered.append(f"{call.vendor} got number {number} as {str(call.body)[:400]}")
        if call.problems:
            self.altered.append(f"{call.vendor} found fault with number {number}: {call.problems}")
        if self.ids.setdefault(number, call.trackgate_event_id) != call.trackgate_event_id:
            self.spurious.append(f"{call.vendor} got number {number} as a second event, {call.trackgate_event_id}")
        if call.status is not None and 200 <= call.status < 300:
            self.arrived[call.vendor][number] += 1
            if timed:
                self.at[call.vendor].setdefault(number, call.at.timestamp())
        else:
            self.turned_away += 1


class Collector:
    """Reads an emulator from a thread of its own, from the first call on.

    Args:
        url: of the emulator.
        oracle: says what each body must be.
        timed: whether to keep when each event came in.

    """

    def __init__(self, url: str, oracle: Oracle, *, timed: bool = False) -> None:
        self.seen = Seen()
        self._url = url
        self._oracle = oracle
        self._timed = timed
        self._last = 0
        self._going = True
        self._failure: Exception | None = None
        self._pages = msgspec.json.Decoder(list[Call])
        self._thread = threading.Thread(target=self._run, name="collector", daemon=True)
        self._thread.start()

    def catch_up(self) -> None:
        """Return when everything that has come in by now is read; raises what went wrong in the reading."""
        count = httpx.get(f"{self._url}/-/received/count").raise_for_status().json()["count"]
        until(lambda: self._last >= count or self._failure)
        if self._failure is not None:
            raise self._failure

    def stop(self) -> None:
        """Read no more."""
        self._going = False
        self._thread.join()

    def _run(self) -> None:
        try:
            with httpx.Client(base_url=self._url, timeout=30) as client:
                while self._going:
                    if not self._read(client):
                        time.sleep(PAUSE)
        except Exception as error:  # noqa: BLE001 - handed to whoever calls `catch_up`
            self._failure = error

    def _read(self, client: httpx.Client) -> bool:
        """Read a page; whether there is likely more."""
        reply = client.get("/-/received", params={"after": self._last, "limit": PAGE}).raise_for_status()
        calls = self._pages.decode(reply.content)
        for call in calls:
            if call.n != self._last + 1:
                raise FellBehind(f"calls {self._last + 1} to {call.n - 1} were forgotten unread")
            self.seen.take(call, self._oracle, timed=self._timed)
            self._last = call.n
        return len(calls) == PAGE
