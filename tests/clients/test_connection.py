"""A connection without a network: the bytes of a reply, however they are cut, and bytes that are none."""

from __future__ import annotations

import asyncio
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trackgate.clients.connection import Connection
from trackgate.clients.engine import ExchangeError, Reading
from trackgate.clock import SystemClock
from trackgate.model import Reply

if TYPE_CHECKING:
    from collections.abc import Sequence

REPLIES = {
    "a length": b'HTTP/1.1 202 Accepted\r\nRetry-After: 7\r\nContent-Length: 9\r\n\r\n{"a": 12}',
    "no body": b"HTTP/1.1 204 No Content\r\nX-A: b\r\n\r\n",
    "chunks and trailers": (
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2;x=y\r\nde\r\n0\r\nX-T: v\r\n\r\n"
    ),
    "hints before it": (
        b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 429 Slow\r\nContent-Length: 2\r\n\r\nno"
    ),
    "to the end": b"HTTP/1.0 500 Oh\r\nX-A: b\r\n\r\nwhatever comes",
}


class Wire(asyncio.Transport):
    """Takes what is written, and notes that it was closed."""

    def __init__(self) -> None:
        super().__init__()
        self.closed = False

    def write(self, data: Any) -> None:
        pass

    def abort(self) -> None:
        self.closed = True

    def is_closing(self) -> bool:
        return self.closed

    def get_write_buffer_size(self) -> int:
        return 0


async def exchange(pieces: Sequence[bytes]) -> tuple[Reply | str | None, bool]:
    """What a call gets whose answer comes in these pieces, then the end; whether the connection was kept until then."""
    wire, reading = Wire(), Reading(SystemClock())
    connection = Connection(set())
    connection.connection_made(wire)
    calling = asyncio.ensure_future(connection.exchange(b"", reading))
    await asyncio.sleep(0)
    for piece in pieces:
        if not wire.closed:
            connection.data_received(piece)
    await asyncio.sleep(0)
    kept = connection.is_usable()
    connection.connection_lost(None)
    try:
        await calling
    except ExchangeError as error:
        return reading.reply() or error.no_reply.reason, kept
    return reading.reply(), kept


def pieces_of(data: bytes, cuts: Sequence[int]) -> list[bytes]:
    at = [0, *sorted(cut % (len(data) + 1) for cut in cuts), len(data)]
    return [data[start:end] for start, end in pairwise(at) if end > start]


def plain(result: tuple[Reply | str | None, bool]) -> object:
    said, kept = result
    return ((said.status, said.headers, said.body, said.complete), kept) if isinstance(said, Reply) else (said, kept)


@pytest.mark.parametrize("name", REPLIES)
@given(cuts=st.lists(st.integers(0, 500), max_size=40))
def test_a_reply_is_the_same_however_its_bytes_are_cut(name, cuts):
    data = REPLIES[name]
    whole = plain(asyncio.run(exchange([data])))
    assert plain(asyncio.run(exchange(pieces_of(data, cuts)))) == whole
    assert whole[1] == (name != "to the end")  # type: ignore[index]


@given(
    data=st.binary(max_size=300), cuts=st.lists(st.integers(0, 300), max_size=5), name=st.sampled_from(list(REPLIES))
)
def test_whatever_comes_ends_the_call_and_no_connection_that_is_in_doubt_is_kept(name, data, cuts):
    """Noise in the place of a reply, and behind one."""
    said, kept = asyncio.run(exchange(pieces_of(data, cuts)))
    assert said is not None
    assert not kept
    said, kept = asyncio.run(exchange(pieces_of(REPLIES[name] + data, cuts)))
    assert isinstance(said, Reply)
    assert not kept or not data.strip(b"\r\n")  # an empty line begins no reply
