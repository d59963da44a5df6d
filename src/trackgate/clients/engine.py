"""What every engine does alike: the deadline, the cap on a reply, and which calls cannot be sent at all."""

from __future__ import annotations

import asyncio
import os
import re
import socket
import ssl
from abc import ABC, abstractmethod
from functools import lru_cache
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from trackgate.client import MAX_REPLY
from trackgate.deadlines import Deadlines
from trackgate.model import NoReply, Reply

if TYPE_CHECKING:
    from collections.abc import Iterable

    from trackgate.model import Call, Clock

CONNECTIONS = 256
"""Calls in flight at once, and connections kept open, per client unless told otherwise."""

IDLE: Final = 20.0
"""Seconds that an unused connection is kept: less than servers and load balancers commonly keep theirs (60), so that
a call seldom meets a connection that is just being closed."""

_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_VALUE = re.compile(r"(?:[!-~](?:[\t -~]*[!-~])?)?")
_FRAMING = frozenset({"content-length", "transfer-encoding", "connection", "host"})


class ExchangeError(Exception):
    """An exchange failed. ``no_reply`` says how, in words that quote nothing of the call or of the reply."""

    def __init__(self, no_reply: NoReply) -> None:
        super().__init__(no_reply.detail)
        self.no_reply = no_reply


class Reading:
    """A reply as far as it has come, so that whatever ends the reading, what was read is kept."""

    __slots__ = ("_body", "_clock", "_complete", "_head")

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._head: tuple[int, dict[str, str]] | None = None
        self._body = bytearray()
        self._complete = False

    def begin(self, status: int, headers: Iterable[tuple[str, str]]) -> None:
        """The head has come: from here on it is a reply. Values of one name are joined by commas."""
        joined: dict[str, str] = {}
        for name, value in headers:
            key = name.lower()
            joined[key] = f"{joined[key]}, {value}" if key in joined else value
        self._head = status, joined

    def feed(self, chunk: bytes) -> bool:
        """Take a piece of the body; false once there is more of it than we read."""
        self._body += chunk
        return len(self._body) <= MAX_REPLY

    def finish(self) -> None:
        """The body came to its proper end."""
        self._complete = True

    def take_back(self) -> None:
        """What has come cannot be the reply to the whole call."""
        self._head = None

    def reply(self) -> Reply | None:
        """What there is to show for it; ``None`` before the head has come."""
        if self._head is None:
            return None
        status, headers = self._head
        body = bytes(self._body[:MAX_REPLY])
        return Reply(status=status, headers=headers, body=body, complete=self._complete, at=self._clock.now())


class Engine(ABC):
    """A ``Client``, but for the exchange itself.

    Args:
        clock: says when a reply arrived.
        version: ours, for the User-Agent.
        connections: calls in flight at once; further ones wait, and their deadline runs.

    """

    failures: tuple[type[Exception], ...]
    """What ``exchange`` raises for what a network or a server did, and for a call that it will not put on the wire."""

    def __init__(self, clock: Clock, version: str, connections: int) -> None:
        self._clock = clock
        self._closed = False
        self._deadlines = Deadlines()
        # Ours, not the engine's: a call that is cancelled while it waits must not be sent after all.
        self._slots = asyncio.Semaphore(connections)
        # No compression is asked for and none is undone: a small reply cannot unfold into a large one.
        self._headers = {"user-agent": f"trackgate/{version}", "accept": "*/*", "accept-encoding": "identity"}

    async def send(self, call: Call, deadline: float) -> Reply | NoReply:
        flaw = unsendable(call)
        if flaw is not None:
            return NoReply("protocol", flaw)
        if self._closed:
            return NoReply("connect", "the client is closed")
        reading = Reading(self._clock)
        no_reply = NoReply("protocol", "the engine gave neither a reply nor a reason")
        try:
            with self._deadlines.within(deadline):
                async with self._slots:
                    await self.exchange(call, self._outgoing(call), reading)
        except TimeoutError:
            no_reply = NoReply("timeout", f"no reply within {deadline:g} s")
        except self.failures as error:
            no_reply = self.explain(error)
        reply = reading.reply()
        if reply is not None and reply.status < 200:
            return NoReply("protocol", "the upstream switched protocols without being asked")
        return reply or no_reply

    async def close(self) -> None:
        self._closed = True
        await self.release()

    def _outgoing(self, call: Call) -> dict[str, str]:
        headers = {**self._headers, **call.headers}
        if _FRAMING.isdisjoint(headers):
            return headers
        return {name: value for name, value in headers.items() if name not in _FRAMING}

    @abstractmethod
    async def exchange(self, call: Call, headers: dict[str, str], reading: Reading) -> None:
        """Make the call once and put into ``reading`` what comes back, from the moment that the head is there."""

    @abstractmethod
    def explain(self, error: Exception) -> NoReply:
        """Put a failure into words that quote nothing of the call or of the reply."""

    @abstractmethod
    async def release(self) -> None:
        """Let go of the connections."""


def unsendable(call: Call) -> str | None:
    """Why a call cannot be put on the wire, for the one who configured it, or ``None``. Names headers, never values."""
    if not _is_http(call.url):
        return "the url must be http:// or https:// with a host, a port up to 65535 if any, and no user or password"
    for name, value in call.headers.items():
        if not _is_name(name):
            return "a header's name holds a character that HTTP does not allow"
        if not _is_value(value):
            return (
                f"the value of the header {name} holds what HTTP does not allow: a line break, a control or non-ASCII "
                "character, or a space at either end (a secret that was read from a file often ends in a line break)"
            )
    return None


@lru_cache
def _is_name(name: str) -> bool:
    return _NAME.fullmatch(name) is not None


@lru_cache
def _is_value(value: str) -> bool:
    # Most are, and are found out so in a third of the time: no call goes out that was not looked at.
    if value.isascii() and value.isprintable() and value[:1] != " " != value[-1:]:
        return True
    return _VALUE.fullmatch(value) is not None


@lru_cache
def _is_http(url: str) -> bool:
    try:
        parts = urlsplit(url)
        fit = parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False
    return fit and "@" not in parts.netloc


def words_of(error: OSError) -> str:
    """What the system or TLS says of a failure; empty where it says nothing that is fit to be shown."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return error.verify_message
    if isinstance(error, ssl.SSLError):
        return error.reason or "TLS failed"
    if isinstance(error, socket.gaierror):
        return error.strerror or "the name cannot be looked up"
    return os.strerror(error.errno) if error.errno else ""
