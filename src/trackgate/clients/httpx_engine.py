"""The engine for tests (respx speaks to it): httpx.

Slow (a hundred times the processor time of the other engine), but mocked without a socket. A pooled connection
that has become readable, which is what a closed one looks like, is thrown away before anything is written; nothing is
ever sent twice.
"""

from __future__ import annotations

from http.cookiejar import CookieJar, DefaultCookiePolicy
from typing import TYPE_CHECKING

import httpx

from trackgate.clients.engine import CONNECTIONS, IDLE, Engine, Reading, words_of
from trackgate.model import NoReply

if TYPE_CHECKING:
    from collections.abc import Iterator

    from trackgate.model import Call, Clock


class HttpxClient(Engine):
    """A ``Client`` by httpx; for one event loop.

    Args:
        clock: says when a reply arrived.
        version: ours, for the User-Agent.
        connections: calls in flight at once; further ones wait, and their deadline runs.

    """

    failures = (httpx.TransportError, httpx.InvalidURL, ValueError, OSError)

    def __init__(self, clock: Clock, version: str, connections: int = CONNECTIONS) -> None:
        super().__init__(clock, version, connections)
        self._client = httpx.AsyncClient(
            follow_redirects=False,
            trust_env=False,
            cookies=CookieJar(DefaultCookiePolicy(allowed_domains=())),
            timeout=None,  # noqa: S113 - there is one deadline for the whole call, and the engine keeps it
            limits=httpx.Limits(
                max_connections=connections, max_keepalive_connections=connections, keepalive_expiry=IDLE
            ),
        )
        self._client.headers.clear()

    async def exchange(self, call: Call, headers: dict[str, str], reading: Reading) -> None:
        request = self._client.build_request(call.method, call.url, headers=headers, content=call.body)
        response = await self._client.send(request, stream=True)
        try:
            reading.begin(response.status_code, response.headers.multi_items())
            async for chunk in response.aiter_raw():
                if not reading.feed(chunk):
                    return
            reading.finish()
        finally:
            await response.aclose()

    def explain(self, error: Exception) -> NoReply:
        match error:
            case httpx.TimeoutException():
                return NoReply("timeout", "the engine ran out of time")
            case httpx.ConnectError():
                return NoReply("connect", _cause(error) or "no connection could be made")
            case httpx.RemoteProtocolError() if str(error).startswith("Server disconnected"):
                return NoReply("network", "the upstream closed the connection without a reply")
            case httpx.NetworkError() | OSError():
                return NoReply("network", _cause(error) or "the connection broke")
            case httpx.RemoteProtocolError():
                return NoReply("protocol", "what the upstream sent is not HTTP/1.1")
            case _:
                return NoReply("protocol", "the engine would not send the call")

    async def release(self) -> None:
        await self._client.aclose()


def _cause(error: Exception) -> str:
    """What the system or TLS says of it: the engine's own messages may quote the call or the reply."""
    found = (words_of(cause) for cause in _chain(error) if isinstance(cause, OSError))
    return next(filter(None, found), "")


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__
