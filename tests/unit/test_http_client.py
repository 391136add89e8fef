"""The HTTP client: every request is bounded, and every failure has a reason that can be shown."""

import asyncio
import contextlib
import os
import ssl
import subprocess
import sys
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import pytest

from koi_agent.host.http_client import Client, Limits, RequestFailed, client, parsed
from tests.ports import free_port
from tests.unit.certificates import authority
from tests.unit.virtual_time import in_virtual_time

pytestmark = pytest.mark.usefixtures("leak_check")

Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]

LIMITS = Limits(seconds=20, body=1000)


def sends(body: bytes, *fields: str, status: str = "200 OK") -> Serve:
    """Return a server that answers each request with one response."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(response(body, *fields, status=status))
        await writer.drain()

    return serve


def response(body: bytes, *fields: str, status: str = "200 OK") -> bytes:
    head = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", *fields]
    return "\r\n".join([*head, "", ""]).encode() + body


@asynccontextmanager
async def served(
    serve: Serve, tls: ssl.SSLContext | None = None
) -> AsyncIterator[tuple[str, list[asyncio.Task[None]]]]:
    """Serve on a port; yield the URL, and the connections so far."""
    connections: list[asyncio.Task[None]] = []

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task
        connections.append(task)
        try:
            with contextlib.suppress(OSError, EOFError, asyncio.CancelledError):
                while not reader.at_eof():
                    await serve(reader, writer)
        finally:
            writer.transport.abort()

    server = await asyncio.start_server(connected, "127.0.0.1", 0, ssl=tls)
    port = server.sockets[0].getsockname()[1]
    async with server:
        yield f"{'https' if tls else 'http'}://127.0.0.1:{port}", connections
        for task in connections:
            task.cancel()
        if connections:
            await asyncio.wait(connections)


async def failure(url: str, path: str = "/", tls: ssl.SSLContext | None = None) -> RequestFailed:
    async with client(url, tls=tls) as opened:
        with pytest.raises(RequestFailed) as caught:
            await opened.request("GET", path, LIMITS)
    return caught.value


async def get(opened: Client, path: str = "/") -> bytes:
    return (await opened.request("GET", path, LIMITS)).body


async def test_requests_go_to_paths_below_the_url_on_one_connection() -> None:
    heads = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        heads.append(head.decode())
        length = next(
            (int(line[15:]) for line in head.lower().split(b"\r\n") if b"content-length" in line), 0
        )
        body = await reader.readexactly(length)
        writer.write(b"HTTP/1.1 200 OK\r\nX-Kind: A\r\nContent-Length: %d\r\n\r\n" % length)
        writer.write(body)

    async with served(serve) as (url, connections), client(f"{url}/base/") as opened:
        sent = await opened.request(
            "POST", "/records", LIMITS, headers={"Content-Type": "a/b"}, body=b'{"a":1}'
        )
        await get(opened)
    assert (sent.status, sent.headers["x-kind"], sent.json()) == (200, "A", {"a": 1})
    assert heads[0].startswith("POST /base/records HTTP/1.1\r\n")
    assert "Content-Type: a/b\r\n" in heads[0]
    assert heads[1].startswith("GET /base/ HTTP/1.1\r\n")
    assert len(connections) == 1


async def test_a_server_is_reached_on_a_unix_socket(tmp_path: Path) -> None:
    path = tmp_path / "socket"

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await sends(b"here")(reader, writer)
        writer.close()

    server = await asyncio.start_unix_server(serve, path)
    async with server, client("http://caddy", socket=str(path)) as opened:
        assert await get(opened) == b"here"


async def test_redirects_are_returned_and_cookies_are_not_kept() -> None:
    heads = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heads.append(await reader.readuntil(b"\r\n\r\n"))
        writer.write(b"HTTP/1.1 302 Found\r\nLocation: /other\r\nSet-Cookie: a=b\r\n")
        writer.write(b"Content-Length: 0\r\n\r\n")

    # An IP address gets cookies only in a jar that accepts them from everywhere.
    async with served(serve) as (url, _), client(url.replace("127.0.0.1", "localhost")) as opened:
        for _ in range(2):
            assert (await opened.request("GET", "/", LIMITS)).status == 302
    assert len(heads) == 2
    assert not [head for head in heads if b"cookie" in head.lower()]


async def test_proxies_of_the_environment_are_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{free_port()}")
    async with served(sends(b"direct")) as (url, _), client(url) as opened:
        assert await get(opened) == b"direct"


async def test_a_long_body_costs_its_request_only() -> None:
    bodies = [b"x" * 5000, b"short"]

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(response(bodies.pop(0)))

    async with served(serve) as (url, _), client(url) as opened:
        with pytest.raises(RequestFailed, match="longer than 1000 bytes"):
            await get(opened)
        assert await get(opened) == b"short"


async def test_a_compressed_body_is_refused_before_it_grows() -> None:
    async with served(sends(b"\x1f\x8b", "Content-Encoding: gzip")) as (url, _):
        assert "compressed" in str(await failure(url))


@in_virtual_time
async def test_a_server_that_is_silent_or_slow_has_a_deadline() -> None:
    async def silent(reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
        await reader.read()

    async def slow(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n")
        while True:
            writer.write(b"x")
            await asyncio.sleep(1)

    for serve in (silent, slow):
        async with served(serve) as (url, _):
            failed = await failure(url)
        assert str(failed) == "no response within 20 s"
        assert failed.was_sent


async def read(pieces: AsyncGenerator[bytes, None]) -> bytes:
    return await anext(pieces)


async def test_a_client_that_is_closed_is_a_reason() -> None:
    async with served(sends(b"0123456789")) as (url, _):
        async with client(url) as opened:
            pass
        with pytest.raises(RequestFailed, match="the client is closed") as caught:
            await get(opened)
        assert not caught.value.was_sent


async def test_a_client_that_is_closed_between_two_reads_is_a_reason(tmp_path: Path) -> None:
    client_tls, server_tls = authority(tmp_path, "127.0.0.1")

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n01234")

    async with served(serve, server_tls) as (url, _), AsyncExitStack() as responses:
        async with client(url, tls=client_tls) as opened:
            incoming = await responses.enter_async_context(opened.sent("GET", "/", LIMITS))
            pieces = incoming.pieces()
            assert await anext(pieces) == b"01234"
            # It reads while the connection is being closed.
            reading = asyncio.create_task(read(pieces))  # noqa: TID251 - awaited below
        with pytest.raises(RequestFailed, match="the client is closed"):
            await reading


@pytest.mark.parametrize(
    ("sent", "reason"),
    [
        (b"", "closed the connection"),
        (b"\xff\xfe\r\n\r\n", "not HTTP"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nshort", "incomplete"),
    ],
)
async def test_a_server_that_does_not_speak_http_is_described(sent: bytes, reason: str) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(sent)
        writer.close()
        await reader.read()

    async with served(serve) as (url, _):
        failed = await failure(url)
    assert reason in str(failed)
    assert str(failed).isprintable()


def test_a_chunk_that_is_not_one_is_described_by_either_parser() -> None:
    """aiohttp has a parser in C and one in Python, which raise other errors."""
    environment = {**os.environ, "AIOHTTP_NO_EXTENSIONS": "1"}
    command = [sys.executable, "-m", "tests.unit.http_bad_chunk"]
    done = subprocess.run(
        command, env=environment, capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, "not HTTP" in done.stdout) == (0, True), done.stderr


async def test_a_port_without_a_server_has_not_received_the_request() -> None:
    failed = await failure(f"http://127.0.0.1:{free_port()}")
    assert "Connect" in str(failed)
    assert not failed.was_sent


async def test_a_certificate_that_is_not_trusted_is_a_reason(tmp_path: Path) -> None:
    trusted, server = authority(tmp_path, "127.0.0.1")
    async with served(sends(b"safe"), server) as (url, _):
        assert "certificate is not valid" in str(await failure(url))
        async with client(url, tls=trusted) as opened:
            assert await get(opened) == b"safe"


async def test_a_certificate_for_another_name_is_a_reason(tmp_path: Path) -> None:
    trusted, server = authority(tmp_path, "192.0.2.1")
    async with served(sends(b"safe"), server) as (url, _):
        failed = await failure(url, tls=trusted)
    assert "certificate is not valid" in str(failed)
    assert "127.0.0.1" in str(failed)
    assert not failed.was_sent


async def test_a_server_without_tls_is_a_reason() -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        await reader.read()

    async with served(serve) as (url, _):
        assert "SSL" in str(await failure(url.replace("http:", "https:")))


def test_what_is_not_json_is_a_reason() -> None:
    for body in (b"", b"{", b"[" * 100_000, b"1" * 5000):
        with pytest.raises(RequestFailed, match="not JSON"):
            parsed(body)
    assert parsed(b'"\xff"') == "\ufffd"
