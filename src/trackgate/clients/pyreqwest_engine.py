"""The engine that production uses: pyreqwest, which is reqwest and hyper in Rust.

What was found out about it, and is held by the contract tests:

- By default it follows redirects (a 307 sends a POST twice) and obeys HTTP_PROXY even for loopback.
- It reads ahead into the body before it gives the head away, unless the read buffer is 0: a 200 with a stalled or cut
  body would look like no reply at all, and be sent again.
- The classes of its exceptions do not say how far a call got: a connection that is reset after the call was read is
  a ``ConnectError``, and a reply that never comes a ``ConnectTimeoutError``. Its causes do.
- Cancelling a call before its head came only stops the waiting: the call itself goes on in the background until its
  own timeout, which is therefore always set, to the deadline.
- A cancellation that meets a finished step is answered with the step's result.
- A call whose pooled connection turns out closed before hyper took the call up is sent on another one, once: nothing
  of it was written. As soon as a byte may have been written it fails instead.
- A reply's header that is not UTF-8 makes the whole header map raise; read one by one, only that header is lost.
- A reply with more than 100 headers, or some 400 KiB of them, is a protocol fault.
"""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

from pyreqwest.client import ClientBuilder
from pyreqwest.exceptions import DecodeError, DetailedPyreqwestError, PyreqwestError

from trackgate.clients.engine import CONNECTIONS, IDLE, Engine, Reading
from trackgate.model import Fault

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pyreqwest.response import Response

    from trackgate.deadlines import Deadline
    from trackgate.model import Call, Clock


class PyreqwestClient(Engine):
    """A ``Client`` by pyreqwest; for one event loop.

    Args:
        clock: says when a reply arrived.
        version: ours, for the User-Agent.
        connections: calls in flight at once; further ones wait, and their deadline runs.

    """

    failures = (PyreqwestError, ValueError)

    def __init__(self, clock: Clock, version: str, connections: int = CONNECTIONS) -> None:
        super().__init__(clock, version, connections)
        self._client = (
            ClientBuilder()
            .http1_only()
            .follow_redirects(enable=False)
            .referer(enable=False)
            .no_proxy()
            .default_cookie_store(enable=False)
            .gzip(enable=False)
            .brotli(enable=False)
            .zstd(enable=False)
            .deflate(enable=False)
            .pool_max_idle_per_host(connections)
            .pool_idle_timeout(timedelta(seconds=IDLE))
            .build()
        )

    async def exchange(self, call: Call, headers: dict[str, str], deadline: Deadline, reading: Reading) -> None:
        if not call.body and call.method != "GET":
            headers["content-length"] = "0"  # left out otherwise
        request = (
            self._client.request(call.method, call.url)
            .headers(headers)
            .body_bytes(call.body)
            .timeout(timedelta(seconds=deadline.seconds))
            .streamed_read_buffer_limit(0)
            .build_streamed()
        )
        async with request as response:
            reading.begin(response.status, _headers(response))
            deadline.heed_cancellation()
            while (chunk := await response.body_reader.read_chunk()) is not None:
                deadline.heed_cancellation()
                if not reading.feed(bytes(chunk)):
                    return
            reading.finish()

    def explain(self, error: Exception) -> Fault:
        causes = _causes(error)
        words = ": ".join(cause for cause in causes if " for url " not in cause)[:200]
        if isinstance(error, DecodeError) or not isinstance(error, PyreqwestError):
            return Fault("protocol", words)
        return Fault("connect" if "client error (Connect)" in causes else "network", words)

    async def release(self) -> None:
        await self._client.close()


def _headers(response: Response) -> Iterator[tuple[str, str]]:
    for name in dict.fromkeys(response.headers.keys()):
        try:
            values = response.headers.getall(name)
        except ValueError:  # not UTF-8
            continue
        yield from ((name, value) for value in values)


def _causes(error: Exception) -> list[str]:
    """What the engine says went wrong, from the outside in. The outermost quotes the url, which may hold a secret."""
    if not isinstance(error, PyreqwestError):
        return ["the engine would not send the call"]
    causes = error.details["causes"] if isinstance(error, DetailedPyreqwestError) else None
    return [cause["message"] for cause in causes or ()] or [type(error).__name__]
