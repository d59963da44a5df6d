"""The engine that production uses: HTTP/1.1 on the event loop's own transports, its replies parsed by httptools.

Why not a library's client: a call takes 22 us of processor time here, with all that ``engine`` sees to, and without it
34 by pycurl, 40 by pyreqwest and 86 by aiohttp. What is more, pyreqwest's second runtime takes the interpreter lock
from the event loop several times a call, which in a busy process comes to more than the call itself; and it cannot hang
up when a call is cancelled.

A call is written once, on one connection, and never again, whatever becomes of it. There are no redirects, no cookies,
no proxies and no compression, because nothing here knows of them.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING
from urllib.parse import quote, urlsplit

from trackgate.clients.engine import CONNECTIONS, Engine, ExchangeError, Reading
from trackgate.clients.pool import Origin, Pool
from trackgate.model import NoReply

if TYPE_CHECKING:
    from trackgate.model import Call, Clock

STANDARD_PORTS = {"http": 80, "https": 443}

AS_IT_IS = "%/:=&?~#+!$,;'@()*[]-._"
"""What is not escaped in a path and a query, beside letters and digits: what is escaped already stays so."""


class AsyncioClient(Engine):
    """A ``Client`` on the running event loop.

    Args:
        clock: says when a reply arrived.
        version: ours, for the User-Agent.
        connections: calls in flight at once; further ones wait, and their deadline runs.

    """

    failures = (ExchangeError,)

    def __init__(self, clock: Clock, version: str, connections: int = CONNECTIONS) -> None:
        super().__init__(clock, version, connections)
        self._pool = Pool()

    async def exchange(self, call: Call, headers: dict[str, str], reading: Reading) -> None:
        try:
            origin, path, host = _place(call.url)
        except UnicodeError:
            raise ExchangeError(NoReply("connect", "the host of the url is no name that can be looked up")) from None
        fields = "".join([f"{name}: {value}\r\n" for name, value in headers.items()])
        length = f"content-length: {len(call.body)}\r\n" if call.body or call.method != "GET" else ""
        head = f"{call.method} {path} HTTP/1.1\r\nhost: {host}\r\n{fields}{length}\r\n"
        await self._pool.exchange(origin, head.encode("ascii") + call.body, reading)

    def explain(self, error: Exception) -> NoReply:
        if not isinstance(error, ExchangeError):
            raise error
        return error.no_reply

    async def release(self) -> None:
        self._pool.close()


@lru_cache
def _place(url: str) -> tuple[Origin, str, str]:
    """Who is called, the target of the request line and the value of ``host``.

    Raises:
        UnicodeError: no name may be as the url's host is.

    """
    parts = urlsplit(url)
    name = (parts.hostname or "").encode("idna").decode()
    port = parts.port or STANDARD_PORTS[parts.scheme]
    host = f"[{name}]" if ":" in name else name
    target = quote(f"{parts.path}?{parts.query}" if parts.query else parts.path, safe=AS_IT_IS)
    return (
        Origin(name, port, parts.scheme == "https"),
        target if target.startswith("/") else f"/{target}",
        host if port == STANDARD_PORTS[parts.scheme] else f"{host}:{port}",
    )
