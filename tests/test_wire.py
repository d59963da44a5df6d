"""A call's body read within its limit, a reply given: what every edge of the program has in common."""

from __future__ import annotations

import asyncio

import pytest

from trackgate.model import Reply
from trackgate.wire import Gone, TooLong, collect, give


def part(body, *, more=True):
    return {"type": "http.request", "body": body, "more_body": more}


END = {"type": "http.request"}
GONE = {"type": "http.disconnect"}


def read(*messages, limit=10, surplus=0):
    """The body, and how many messages were read for it."""
    left = list(messages)

    async def receive():
        return left.pop(0)

    try:
        return asyncio.run(collect(receive, limit, surplus)), len(messages) - len(left)
    except TooLong:
        return TooLong, len(messages) - len(left)


@pytest.mark.parametrize(
    ("messages", "body"),
    [
        ([END], b""),
        ([part(b"0123456789", more=False)], b"0123456789"),
        ([part(b"01234"), part(b"56789"), END], b"0123456789"),
        ([part(b""), part(b"0", more=False)], b"0"),
    ],
)
def test_a_body_within_its_limit_comes_whole(messages, body):
    assert read(*messages) == (body, len(messages))


@pytest.mark.parametrize(
    ("surplus", "messages", "asked"),
    [
        (0, [part(b"01234567890", more=False)], 1),
        (0, [part(b"01234567890"), part(b"1")], 1),
        (5, [part(b"01234567890"), part(b"1"), END, END], 3),
        (5, [part(b"01234567890"), part(b"12345"), part(b"6")], 2),
    ],
)
def test_beyond_its_limit_only_the_surplus_is_read(surplus, messages, asked):
    assert read(*messages, surplus=surplus) == (TooLong, asked)


def test_a_caller_that_hangs_up_in_its_body_is_gone():
    with pytest.raises(Gone):
        read(part(b"0"), GONE)


def test_a_reply_is_given_with_its_length():
    sent = []

    async def send(message):
        sent.append(message)

    asyncio.run(give(send, Reply(status=401, headers={"x-name": "caf\xe9"}, body=b"no")))
    assert sent == [
        {"type": "http.response.start", "status": 401, "headers": [(b"x-name", b"caf\xe9"), (b"content-length", b"2")]},
        {"type": "http.response.body", "body": b"no", "more_body": False},
    ]
