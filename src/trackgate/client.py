"""The one seam to the upstreams: a call in; a reply out, or why none came. It never retries nor follows a redirect."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from trackgate.model import Call, NoReply, Reply

MAX_REPLY = 64 * 1024
"""Bytes of a reply's body that are read; the rest is left, and the reply is marked incomplete."""


class Client(Protocol):
    """An HTTP engine. What an implementation promises is in ``tests/clients/test_contract.py``."""

    async def send(self, call: Call, deadline: float) -> Reply | NoReply:
        """Make the call within ``deadline`` seconds, all told.

        Once a status line and headers have come it is a ``Reply``, even if the body is cut short, stalls or is
        garbage (``complete=False``): the upstream has spoken. Before that it is a ``NoReply``. Never raises for
        anything that a network or a server can do.
        """

    async def close(self) -> None:
        """Let go of the connections."""
