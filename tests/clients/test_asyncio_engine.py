"""What the engine of production promises beyond the contract: when it hangs up, TLS, and what it writes."""

from __future__ import annotations

import asyncio
import gc
import socket
import ssl
import threading
import time
from collections import Counter
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import pytest
import trustme
import uvloop

from trackgate.clients import pool
from trackgate.clients.asyncio_engine import AsyncioClient
from trackgate.clients.connection import MAX_HEAD, MOMENT, Connection
from trackgate.clients.engine import Reading
from trackgate.clock import SystemClock
from trackgate.model import Call, NoReply, Reply

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine, Iterator

    Answer = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
GUARD = 20.0
LARGE = 20_000_000
"""Bytes of a body that no socket takes at once."""


@pytest.fixture(params=[asyncio.run, uvloop.run], ids=["asyncio", "uvloop"])
def run(request) -> Callable[[Coroutine[Any, Any, None]], None]:
    """On asyncio's own loop and on the one that production uses."""

    def guarded(test: Coroutine[Any, Any, None]) -> None:
        request.param(asyncio.wait_for(test, GUARD))

    return guarded


def call(url: str, path: str = "/v1/track", body: bytes = b"{}") -> Call:
    return Call(url=url + path, headers={"authorization": "Token k"}, body=body)


def client() -> AsyncioClient:
    return AsyncioClient(SystemClock(), "1")


def test_a_cancelled_call_hangs_up_at_once(run, hostile, says):
    async def test() -> None:
        async with hostile(says(then="hang")) as server:
            calling = client()
            sending = asyncio.ensure_future(calling.send(call(server.url), 1e6))
            await server.called.wait()
            sending.cancel()
            with pytest.raises(asyncio.CancelledError):
                await sending
            await server.gone.wait()
            await calling.close()

    run(test())


def test_a_call_that_is_cancelled_as_its_reply_ends_leaves_no_connection_behind(run, hostile, says, monkeypatch):
    finish = Reading.finish

    async def test() -> None:
        async with hostile(says(OK)) as server:
            calling = client()
            sending = asyncio.ensure_future(calling.send(call(server.url), GUARD))

            def finish_and_cancel(reading: Reading) -> None:
                finish(reading)
                sending.cancel()

            monkeypatch.setattr(Reading, "finish", finish_and_cancel)
            with pytest.raises(asyncio.CancelledError):
                await sending
            await server.gone.wait()
            await calling.close()

    run(test())


@pytest.fixture
def cancelled_as_it_connects(monkeypatch) -> Callable[[AsyncioClient, Call], Coroutine[Any, Any, None]]:
    """Make a call that is cancelled at the moment at which its connection is there, before the call knows of it."""
    made = Connection.connection_made

    async def cancelled(calling: AsyncioClient, one: Call) -> None:
        sending = asyncio.ensure_future(calling.send(one, GUARD))

        def made_and_cancel(connection: Connection, transport: asyncio.BaseTransport) -> None:
            made(connection, transport)
            sending.cancel()

        with monkeypatch.context() as patched:
            patched.setattr(Connection, "connection_made", made_and_cancel)
            with pytest.raises(asyncio.CancelledError):
                await sending

    return cancelled


def connections_left() -> int:
    gc.collect()
    return sum(isinstance(each, Connection) for each in gc.get_objects())


def test_a_call_that_is_cancelled_as_it_connects_leaves_no_connection_behind(
    run, hostile, says, cancelled_as_it_connects
):
    async def test() -> None:
        async with hostile(says(OK)) as server:
            calling = client()
            before = connections_left()
            for _ in range(3):
                await cancelled_as_it_connects(calling, call(server.url))
                await server.gone.wait()
                server.gone.clear()
            assert connections_left() == before
            assert isinstance(await calling.send(call(server.url), 5.0), Reply)
            await calling.close()

    run(test())


def test_names_that_nobody_answers_for_hold_up_no_other_client(run, hostile, says, monkeypatch):
    """More of them than any event loop has threads; each is asked for once, however many calls wait."""
    asked: Counter[str] = Counter()
    over = threading.Event()
    look_up = socket.getaddrinfo

    def slow(host: str, *args: Any, **options: Any) -> Any:
        if host.startswith("slow") and not options.get("flags"):
            asked[host] += 1
            over.wait(GUARD)
        return look_up(host, *args, **options)

    monkeypatch.setattr(socket, "getaddrinfo", slow)

    async def test() -> None:
        async with hostile(says(OK)) as server:
            sick = [client() for _ in range(64)]
            urls = [f"http://slow-{number}.invalid" for number in range(64)]
            calls = [one.send(call(url), 0.5) for one, url in zip(sick, urls, strict=True) for _ in range(3)]
            waiting = [asyncio.ensure_future(each) for each in calls]
            await asyncio.sleep(0)
            well = client()
            assert isinstance(await well.send(call(f"http://localhost:{server.port}"), GUARD / 2), Reply)
            assert all(
                isinstance(each, NoReply) and each.reason == "timeout" for each in await asyncio.gather(*waiting)
            )
            over.set()
            for one in [well, *sick]:
                await one.close()

    run(test())
    assert set(asked.values()) == {1}
    assert len(asked) == 64


def test_a_call_past_its_deadline_hangs_up_at_once(run, hostile, says):
    async def test() -> None:
        async with hostile(says(then="hang")) as server:
            calling = client()
            assert await calling.send(call(server.url), 0.05) == NoReply("timeout", "no reply within 0.05 s")
            await server.gone.wait()
            await calling.close()

    run(test())


def test_connections_that_are_not_used_are_closed(run, hostile, says, monkeypatch):
    monkeypatch.setattr(pool, "IDLE", 0.05)

    async def test() -> None:
        async with hostile(says(OK)) as server:
            calling = client()
            assert isinstance(await calling.send(call(server.url), 5.0), Reply)
            await server.gone.wait()
            assert isinstance(await calling.send(call(server.url), 5.0), Reply)
            await calling.close()
        assert server.connections == 2

    run(test())


def test_one_connection_after_the_other_serves_calls_in_turn(run, hostile, says):
    async def test() -> None:
        async with hostile(says(OK)) as server:
            calling = client()
            for _ in range(10):
                assert isinstance(await calling.send(call(server.url), 5.0), Reply)
            await calling.close()
        assert server.connections == 1

    run(test())


def test_a_reply_that_comes_before_the_call_was_sent_is_the_last_on_its_connection(run):
    """An upstream that turns a large body away need not read it; what is left of the call must not meet the next."""
    ended: list[asyncio.Event] = []

    async def impatient(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        ended.append(asyncio.Event())
        with suppress(ConnectionError):
            await reader.readuntil(b"\r\n\r\n")
            writer.write(b"HTTP/1.1 413 Too Large\r\nContent-Length: 0\r\n\r\n")
            await reader.read()
            writer.close()
            await writer.wait_closed()
        ended[-1].set()

    async def test() -> None:
        server = await asyncio.start_server(impatient, "127.0.0.1", 0)
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        calling = client()
        for number in range(2):
            reply = await calling.send(call(url, body=b"x" * 20_000_000), 5.0)
            assert isinstance(reply, Reply)
            assert reply.status == 413
            await ended[number].wait()
        await calling.close()
        server.close()

    run(test())
    assert len(ended) == 2


async def accepts_ahead_of_time(server: Answer) -> tuple[Reply | NoReply, list[int]]:
    """What a large call gets that is accepted as soon as its head is there, and the length of the body that came."""
    lengths: list[int] = []
    ended = asyncio.Event()

    async def hasty(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        with suppress(ConnectionError, asyncio.IncompleteReadError):
            writer.write(b"HTTP/1.1 202 Accepted\r\nContent-Length: 0\r\n\r\n")
            await server(reader, writer)
            lengths.append(len(await reader.readexactly(LARGE)))
        writer.close()
        ended.set()

    listening = await asyncio.start_server(hasty, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{listening.sockets[0].getsockname()[1]}"
    calling = client()
    result = await calling.send(call(url, body=b"x" * LARGE), 5.0)
    await ended.wait()
    await calling.close()
    listening.close()
    return result, lengths


def test_a_call_that_is_accepted_before_it_was_sent_still_goes_out_in_full(run):
    async def reads_on(_reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(0.1)  # so that the reply is there while the call waits to be sent

    async def test() -> None:
        result, lengths = await accepts_ahead_of_time(reads_on)
        assert isinstance(result, Reply)
        assert (result.status, result.complete) == (202, True)
        assert lengths == [LARGE]

    run(test())


def test_a_call_that_is_accepted_before_it_was_sent_and_then_cut_off_is_not_accepted(run):
    async def breaks(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(0.1)
        writer.transport.abort()
        raise ConnectionError

    async def test() -> None:
        result, lengths = await accepts_ahead_of_time(breaks)
        assert isinstance(result, NoReply)
        assert result.reason == "network"
        assert not lengths

    run(test())


def test_a_call_that_is_accepted_and_never_read_is_not_accepted(run):
    async def test() -> None:
        over = asyncio.Event()

        async def hasty(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.readuntil(b"\r\n\r\n")
            writer.write(b"HTTP/1.1 202 Accepted\r\nContent-Length: 2\r\n\r\n")
            await over.wait()
            writer.close()

        listening = await asyncio.start_server(hasty, "127.0.0.1", 0)
        url = f"http://127.0.0.1:{listening.sockets[0].getsockname()[1]}"
        calling = client()
        result = await calling.send(call(url, body=b"x" * LARGE), 0.3)
        assert isinstance(result, NoReply)
        assert result.reason == "timeout"
        over.set()
        await calling.close()
        listening.close()

    run(test())


def test_a_connection_that_the_upstream_says_it_will_close_is_not_used_again(run, hostile, says):
    async def test() -> None:
        async with hostile(says(OK.replace(b"\r\n", b"\r\nConnection: close\r\n", 1))) as server:
            calling = client()
            for _ in range(3):
                assert isinstance(await calling.send(call(server.url), 5.0), Reply)
            await calling.close()
        assert server.connections == len(server.calls) == 3

    run(test())


def test_an_end_that_the_event_loop_has_not_come_to_is_seen_before_the_next_call(run):
    """The upstream hangs up while something else keeps the loop busy."""

    def serve(listener: socket.socket) -> None:
        with suppress(OSError):
            for _ in range(2):
                connection, _ = listener.accept()
                connection.recv(65536)
                connection.sendall(OK)
                connection.close()

    async def test() -> None:
        with socket.create_server(("127.0.0.1", 0)) as listener:
            listener.settimeout(GUARD)
            server = threading.Thread(target=serve, args=(listener,), daemon=True)
            server.start()
            calling = client()
            for _ in range(2):
                reply = await calling.send(call(f"http://127.0.0.1:{listener.getsockname()[1]}"), 5.0)
                assert isinstance(reply, Reply), reply
                time.sleep(4 * MOMENT)  # noqa: ASYNC251 - the loop is busy
            await calling.close()
            server.join()

    run(test())


def test_a_field_behind_the_body_is_none_of_the_head(run, hostile, says):
    trailed = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\nRetry-After: 7\r\n\r\n"

    async def test() -> None:
        async with hostile(says(trailed)) as server:
            calling = client()
            for _ in range(2):
                reply = await calling.send(call(server.url), 5.0)
                assert isinstance(reply, Reply)
                assert (reply.body, reply.headers) == (b"ok", {"transfer-encoding": "chunked"})
            await calling.close()
        assert server.connections == 1

    run(test())


def test_what_is_smuggled_in_behind_a_reply_is_no_reply(run, hostile, says):
    async def test() -> None:
        async with hostile(says(OK + b"HTTP/1.1 202 Accepted\r\nContent-Length: 4\r\n\r\nevil")) as server:
            calling = client()
            for _ in range(3):
                reply = await calling.send(call(server.url), 5.0)
                assert isinstance(reply, Reply)
                assert (reply.status, reply.body) == (200, b"ok")
            await calling.close()
        assert server.connections == len(server.calls) == 3

    run(test())


def test_interim_replies_without_end_are_no_reply(run, hostile, says):
    async def test() -> None:
        async with hostile(says(b"HTTP/1.1 100 Continue\r\n\r\n", then="repeat")) as server:
            calling = client()
            result = await calling.send(call(server.url), GUARD)
            await calling.close()
        assert isinstance(result, NoReply)
        assert result.reason == "protocol"
        assert str(MAX_HEAD) in result.detail

    run(test())


@pytest.mark.parametrize(
    ("begun", "goes_on"),
    [(b"2\r\nok\r\n0\r\n", b"X-T: v\r\n"), (b"2\r\nok\r\n0\r\nX-T: ", b"v"), (b"2;", b"x"), (b"", b"0")],
    ids=["fields behind the body", "a field behind the body", "an extension", "a size"],
)
def test_what_frames_a_body_without_end_is_not_read_to_the_deadline(run, hostile, says, begun, goes_on):
    head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"

    async def test() -> None:
        async with hostile(says(head + begun, goes_on * 4096, then="repeat")) as server:
            calling = client()
            reply = await calling.send(call(server.url), 2 * GUARD)
            await calling.close()
        assert isinstance(reply, Reply)
        assert (reply.status, reply.complete) == (200, False)

    run(test())


@pytest.mark.parametrize(
    ("path", "line"),
    [
        ("", "/"),
        ("/a/b?c=d%20e&f=g#fragment", "/a/b?c=d%20e&f=g"),
        ("?c=d", "/?c=d"),
        ("//a//b", "//a//b"),
        ("/a b/sch\u00f6n", "/a%20b/sch%C3%B6n"),
        ("/a\r\nx-evil: 1", "/ax-evil:%201"),
    ],
)
def test_what_a_request_line_says(run, hostile, says, path, line):
    async def test() -> None:
        async with hostile(says(OK)) as server:
            calling = client()
            assert isinstance(await calling.send(call(server.url, path), 5.0), Reply)
            await calling.close()
        assert server.calls[0].splitlines()[0].decode() == f"POST {line} HTTP/1.1"
        assert b"x-evil: 1" not in server.calls[0]

    run(test())


class TestTls:
    @pytest.fixture(autouse=True)
    def forget(self) -> Iterator[None]:
        """Whom the machine trusts is read once."""
        pool.trust.cache_clear()
        yield
        pool.trust.cache_clear()

    @pytest.fixture
    def authority(self) -> trustme.CA:
        return trustme.CA()

    @pytest.fixture
    def trusted(self, authority, tmp_path, monkeypatch) -> None:
        """This authority is the machine's."""
        authority.cert_pem.write_to_path(tmp_path / "ca.pem")
        monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))

    @pytest.fixture
    def secure(self, authority):
        """A server with a certificate for ``localhost``: its url for another name or for its own."""

        async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            try:
                while await reader.readuntil(b"\r\n\r\n{}"):
                    writer.write(OK)
            except (asyncio.IncompleteReadError, ConnectionError):
                writer.close()

        async def start() -> tuple[asyncio.Server, int]:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            authority.issue_cert("localhost").configure_cert(context)
            server = await asyncio.start_server(answer, "127.0.0.1", 0, ssl=context)
            return server, server.sockets[0].getsockname()[1]

        return start

    @pytest.mark.usefixtures("trusted")
    def test_a_certificate_that_holds_lets_calls_pass(self, run, secure):
        async def test() -> None:
            server, port = await secure()
            calling = client()
            for _ in range(3):
                reply = await calling.send(call(f"https://localhost:{port}"), 5.0)
                assert isinstance(reply, Reply)
                assert (reply.status, reply.body, reply.complete) == (200, b"ok", True)
            await calling.close()
            server.close()

        run(test())

    @pytest.mark.usefixtures("trusted")
    def test_a_call_that_is_cancelled_as_it_connects_is_in_nobodys_way(self, run, secure, cancelled_as_it_connects):
        """The event loop still had the socket: the next connection must not come to stand in its place."""

        async def test() -> None:
            server, port = await secure()
            for _ in range(3):
                calling = client()
                await cancelled_as_it_connects(calling, call(f"https://localhost:{port}"))
                assert isinstance(await calling.send(call(f"https://localhost:{port}"), 5.0), Reply)
                await calling.close()
            server.close()

        run(test())

    @pytest.fixture
    def refused(self, run, secure) -> Callable[[str], str]:
        """What is said of a call to this host."""

        def words(host: str) -> str:
            results: list[Reply | NoReply] = []

            async def test() -> None:
                server, port = await secure()
                calling = client()
                results.append(await calling.send(call(f"https://{host}:{port}"), 5.0))
                await calling.close()
                server.close()

            run(test())
            (result,) = results
            assert isinstance(result, NoReply)
            assert result.reason == "connect"
            return result.detail

        return words

    @pytest.mark.usefixtures("trusted")
    def test_a_certificate_for_another_name_is_a_failure_to_connect_that_says_so(self, refused):
        assert "mismatch" in refused("127.0.0.1")

    def test_a_certificate_of_an_unknown_authority_is_a_failure_to_connect_that_says_so(self, refused):
        assert "certificate" in refused("localhost")
