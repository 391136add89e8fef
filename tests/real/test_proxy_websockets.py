"""A websocket through a real Caddy while the routes of other instances change."""

import asyncio
import contextlib
import re
import ssl
import subprocess
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from koi_agent.host.caddy.objects import STREAMS
from tests.ports import free_port
from tests.real.agents import eventually
from tests.real.caddy_server import PROGRAM, Caddy, caddy
from tests.real.test_proxy_caddy import gets, has, session
from tests.unit.dns_zones import complete, key
from tests.unit.proxy_routes import put, route

UPGRADE = b"Connection: Upgrade\r\nUpgrade: websocket\r\n"
REQUEST = b"GET / HTTP/1.1\r\nHost: chat.internal\r\n%sSec-WebSocket-Version: 13\r\n\r\n"


@pytest.fixture
def proxy(tmp_path: Path) -> Iterator[Caddy]:
    with caddy(tmp_path / "caddy") as running:
        yield running


@asynccontextmanager
async def chat() -> AsyncIterator[int]:
    """Serve websockets that return what they get, and a page; yield the port."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            head = await reader.readuntil(b"\r\n\r\n")
            if b"websocket" not in head:
                writer.write(b"HTTP/1.0 200 OK\r\n\r\nno websocket")
            else:
                writer.write(b"HTTP/1.1 101 Switching Protocols\r\n%s\r\n" % UPGRADE)
                while piece := await reader.read(100):
                    writer.write(piece)
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1]


class Websocket:
    """A websocket through Caddy. What it carries after its head is of no concern to Caddy."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    async def is_open(self) -> bool:
        """Return True if what is sent comes back, False if the connection has ended."""
        try:
            async with asyncio.timeout(60):
                self._writer.write(b"ping")
                await self._writer.drain()
                return await self._reader.readexactly(4) == b"ping"
        except (OSError, ssl.SSLError, asyncio.IncompleteReadError):
            return False

    async def is_cut(self) -> bool:
        return not await self.is_open()


@asynccontextmanager
async def websocket(proxy: Caddy, port: int) -> AsyncIterator[Websocket]:
    """Open a websocket through Caddy, and close it with the block."""
    context = ssl.create_default_context(
        cafile=str(proxy.storage / "pki/authorities/local/root.crt")
    )
    reader, writer = await asyncio.open_connection(
        "127.0.0.1", port, ssl=context, server_hostname="chat.internal"
    )
    try:
        writer.write(REQUEST % UPGRADE)
        assert b" 101 " in (await reader.readuntil(b"\r\n\r\n")).split(b"\r\n")[0]
        yield Websocket(reader, writer)
    finally:
        writer.transport.abort()


def keeps_streams(config: Any) -> bool:
    """Return True if the routes of the agent have the field that keeps websockets."""
    return STREAMS in str(config)


@pytest.mark.parametrize("port_of_other", ["same", "another"])
async def test_a_websocket_stays_open_if_caddy_can_keep_it(
    proxy: Caddy, port_of_other: str
) -> None:
    port = free_port()
    one = route("a", "chat.internal", port=port)
    two = route("b", "shop.internal", port=port if port_of_other == "same" else free_port())
    async with chat() as to, session(proxy) as opened:
        one = replace(one, upstream=route(to=to).upstream)
        complete(opened)
        await put(opened, one)
        await gets(proxy, "chat.internal", port, "no websocket")
        async with websocket(proxy, port) as kept:
            await put(opened, one)
            assert await kept.is_open()
            await put(opened, two)
            await has(proxy, one, two)
            await opened.put(key("b"), [])
            await has(proxy, one)
            if keeps_streams(proxy.config()):
                assert await kept.is_open()
            else:
                await eventually(kept.is_cut, "Caddy has cut the websocket")


async def test_caddy_since_2_7_keeps_websockets(proxy: Caddy) -> None:
    one = route(port=free_port())
    async with session(proxy) as opened:
        complete(opened)
        await put(opened, one)
        await has(proxy, one)
        assert keeps_streams(proxy.config()) == (version() >= (2, 7))


def version() -> tuple[int, ...]:
    """Return the version of Caddy, as far as it knows its own; one built from source may not."""
    printed = subprocess.run([PROGRAM, "version"], check=True, capture_output=True, text=True)
    found = re.search(r"([0-9]+)\.([0-9]+)\.", printed.stdout)
    return (int(found[1]), int(found[2])) if found else (2, 7)
