"""What holds for an engine that nobody has written yet."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from trackgate.clients.engine import Engine, Reading, unsendable
from trackgate.clock import SystemClock
from trackgate.model import Call, NoReply, Reply

if TYPE_CHECKING:
    from collections.abc import Callable


CALL = Call(url="http://127.0.0.1:1/v1/track", headers={"authorization": "Token k"}, body=b"{}")


class Stub(Engine):
    """An engine that does with a reading what a test tells it, and then what it pleases."""

    failures = (ConnectionError,)

    def __init__(self, act: Callable[[Reading], None], end: Exception | None = None) -> None:
        super().__init__(SystemClock(), "0", 1)
        self._act = act
        self._end = end

    async def exchange(self, call: Call, headers: dict[str, str], reading: Reading) -> None:
        self._act(reading)
        if self._end is not None:
            raise self._end
        await asyncio.Event().wait()

    def explain(self, error: Exception) -> NoReply:
        return NoReply("network", "explained")

    async def release(self) -> None:
        pass


def nothing(reading: Reading) -> None:
    pass


def head(reading: Reading) -> None:
    reading.begin(202, [("Retry-After", "1")])


def whole(reading: Reading) -> None:
    head(reading)
    reading.feed(b"{}")
    reading.finish()


def send(engine: Engine) -> Reply | NoReply:
    return asyncio.run(asyncio.wait_for(engine.send(CALL, 0.05), 10))


def test_an_engine_that_hangs_cannot_hang_us():
    result = send(Stub(nothing))
    assert isinstance(result, NoReply)
    assert result.reason == "timeout"


def test_an_engine_that_hangs_after_the_head_has_given_a_reply():
    result = send(Stub(head))
    assert isinstance(result, Reply)
    assert (result.status, result.complete, result.headers) == (202, False, {"retry-after": "1"})


def test_an_engine_that_hangs_while_it_tidies_up_takes_nothing_from_the_reply():
    result = send(Stub(whole))
    assert isinstance(result, Reply)
    assert (result.body, result.complete) == (b"{}", True)


def test_an_engine_that_fails_after_the_head_has_given_a_reply():
    result = send(Stub(head, ConnectionResetError()))
    assert isinstance(result, Reply)
    assert not result.complete


def test_a_failure_before_the_head_is_the_fault_that_the_engine_explains():
    assert send(Stub(nothing, ConnectionResetError())) == NoReply("network", "explained")


def test_what_is_no_failure_of_an_exchange_is_a_bug_and_comes_through():
    with pytest.raises(ZeroDivisionError):
        send(Stub(nothing, ZeroDivisionError()))


@pytest.mark.parametrize("url", ["http://h", "https://h:8443/p?q=1", "http://[::1]:8080/x"])
def test_what_can_be_called_is_sendable(url):
    assert unsendable(Call(url=url, headers={"x": "a \t~", "y": ""}, body=b"")) is None
