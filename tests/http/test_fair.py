"""Clients that use all that they can get, and others that want an answer meanwhile."""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from ipaddress import ip_address
from pathlib import Path

import pytest

from koi_agent.publishers.http.clients import of_address
from koi_agent.publishers.http.limits import Limits
from tests.conftest import require
from tests.http.serving import Agent, Client, ask, client, serving, until
from tests.unit.things import unit
from tests.world.users import NOBODY, acting_as

PATIENT = Limits(
    request_timeout=3600.0,
    idle_timeout=3600.0,
    write_timeout=3600.0,
    head_grace=3600.0,
    connections=4,
    waiting=4,
    places=24,
    kept_places=8,
    streams=3,
    all_streams=8,
    kept_streams=2,
)
"""Small shares, and no deadline within a test."""
REQUEST = b"GET /v1/runtime/instances HTTP/1.1\r\nHost: localhost\r\n"
WORST = {
    "silent": b"",
    "half a head": REQUEST,
    "idle": REQUEST + b"\r\n",
    "stream": b"GET /v1/runtime/events HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "unread": (REQUEST + b"\r\n") * 50,
}
MANY = [unit(f"u{number}.service") for number in range(300)]


@pytest.fixture
def open_path(path: socket.socket, tmp_path: Path) -> socket.socket:
    """A socket that another user can reach."""
    try:
        with acting_as(NOBODY):
            pass
    except PermissionError:
        require("root", "a connection of another user needs seteuid")
    (tmp_path / "http.sock").chmod(0o666)
    for folder in (tmp_path, *tmp_path.parents):
        if folder != Path("/tmp") and folder.is_relative_to("/tmp"):
            folder.chmod(0o711)
    return path


@asynccontextmanager
async def hostile(
    listening: socket.socket, sent: bytes, *, count: int = 40, source: str = ""
) -> AsyncIterator[list[Client]]:
    """Connect many times as another user, or from an address, and send the same."""
    async with AsyncExitStack() as opened:
        clients = []
        for _ in range(count):
            if source:
                sock = socket.create_connection(listening.getsockname(), source_address=(source, 0))
                reader, writer = await asyncio.open_connection(sock=sock)
                one = Client(reader, writer)
            else:
                with acting_as(NOBODY):
                    one = await opened.enter_async_context(client(listening))
            opened.callback(one.writer.transport.abort)
            one.writer.transport.pause_reading()  # type: ignore[attr-defined]
            one.writer.write(sent)
            clients.append(one)
        yield clients


@pytest.mark.parametrize("sent", WORST.values(), ids=WORST.keys())
async def test_user_cannot_keep_out_another(open_path: socket.socket, sent: bytes) -> None:
    async with serving(Agent(*MANY, limits=PATIENT), open_path), hostile(open_path, sent):
        for _ in range(3):
            assert (await ask(open_path, "/v1/runtime/instances")).status == 200


@pytest.mark.parametrize("sent", WORST.values(), ids=WORST.keys())
async def test_address_cannot_keep_out_another(loopback: socket.socket, sent: bytes) -> None:
    async with (
        serving(Agent(*MANY, limits=PATIENT), loopback),
        hostile(loopback, sent, source="127.0.0.2"),
    ):
        for _ in range(3):
            assert (await ask(loopback, "/v1/runtime/instances")).status == 200


@pytest.mark.parametrize("sent", WORST.values(), ids=WORST.keys())
async def test_many_addresses_cannot_keep_out_another(loopback: socket.socket, sent: bytes) -> None:
    agent = Agent(*MANY, limits=PATIENT)
    async with serving(agent, loopback), AsyncExitStack() as opened:
        for number in range(2, 10):
            source = f"127.0.0.{number}"
            await opened.enter_async_context(hostile(loopback, sent, count=6, source=source))
        assert (await ask(loopback, "/v1/runtime/instances")).status == 200


async def test_places_are_kept_for_root(open_path: socket.socket, loopback: socket.socket) -> None:
    limits = replace(PATIENT, places=8, kept_places=4)
    async with serving(Agent(limits=limits), open_path, loopback), AsyncExitStack() as opened:
        for number in range(2, 8):
            source = f"127.0.0.{number}"
            await opened.enter_async_context(hostile(loopback, b"", count=1, source=source))
        await opened.enter_async_context(hostile(open_path, b"", count=1))
        assert (await ask(open_path, "/healthz")).status == 200


async def test_oldest_connection_without_a_request_goes_first(path: socket.socket) -> None:
    limits = replace(PATIENT, head_grace=0.1)
    async with serving(Agent(limits=limits), path), AsyncExitStack() as opened:
        clients = [await opened.enter_async_context(client(path)) for _ in range(4)]
        assert (await clients[0].ask("/healthz")).status == 200
        clients[0].send("/v1/runtime/events")
        await clients[0].head()
        assert (await ask(path, "/healthz")).status == 200
        assert await clients[1].ended()
        assert (await clients[3].ask("/healthz")).status == 200
        assert not clients[0].reader.at_eof()


async def test_client_with_its_whole_share_loses_its_oldest(path: socket.socket) -> None:
    async with serving(Agent(limits=PATIENT), path), AsyncExitStack() as opened:
        clients = [await opened.enter_async_context(client(path)) for _ in range(8)]
        newest = [await opened.enter_async_context(client(path)) for _ in range(4)]
        for one in clients[:4]:
            assert await one.ended()
        for one in newest:
            one.send("/healthz")
        for one in clients[4:]:
            assert (await one.ask("/healthz")).status == 200
        for one in newest:
            assert (await one.reply()).status == 200


async def test_connections_that_wait_are_served_when_the_server_stops(path: socket.socket) -> None:
    limits = replace(PATIENT, connections=1, last_request_timeout=0.1)
    async with serving(Agent(limits=limits), path) as task, AsyncExitStack() as opened:
        clients = [await opened.enter_async_context(client(path)) for _ in range(5)]
        await until(lambda: path.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN) == 1)
        assert (await clients[0].ask("/healthz")).status == 200
        for one in clients[1:]:
            one.send("/healthz")
        assert (await clients[1].reply()).status == 200
        task.cancel()
        for one in clients[2:]:
            assert (await one.reply()).status == 200


async def test_silent_connections_do_not_hold_up_a_stop(path: socket.socket) -> None:
    agent = Agent(limits=replace(PATIENT, stop_timeout=0.2))
    async with serving(agent, path) as task, AsyncExitStack() as opened:
        clients = [await opened.enter_async_context(client(path)) for _ in range(8)]
        async with client(path) as last:
            assert await clients[0].ended()  # all others are accepted
            task.cancel()
            for one in (*clients, last):
                assert await one.ended()


async def open_stream(one: Client) -> int:
    one.send("/v1/runtime/events")
    return (await one.head()).status


async def test_streams_of_one_user_do_not_refuse_another(open_path: socket.socket) -> None:
    limits = replace(PATIENT, connections=16)
    async with (
        serving(Agent(limits=limits), open_path),
        hostile(open_path, WORST["stream"], count=8) as others,
    ):
        statuses = []
        for one in others:
            one.writer.transport.resume_reading()  # type: ignore[attr-defined]
            statuses.append((await one.head()).status)
        assert sorted(statuses) == [200] * 3 + [503] * 5
        async with client(open_path) as one:
            assert await open_stream(one) == 200


async def test_oldest_stream_of_the_client_with_most_ends(loopback: socket.socket) -> None:
    agent = Agent(limits=PATIENT)
    async with serving(agent, loopback), AsyncExitStack() as opened:
        first = await opened.enter_async_context(
            hostile(loopback, WORST["stream"], count=3, source="127.0.0.2")
        )
        await until(lambda: len(agent.streams) == 3)
        for number, count in ((3, 2), (4, 1)):
            source = f"127.0.0.{number}"
            await opened.enter_async_context(
                hostile(loopback, WORST["stream"], count=count, source=source)
            )
        await until(lambda: len(agent.streams) == 6)
        async with client(loopback) as one:
            assert await open_stream(one) == 200
            assert len(agent.streams) == 6
            first[0].writer.transport.resume_reading()  # type: ignore[attr-defined]
            async with asyncio.timeout(60):
                while not first[0].reader.at_eof():
                    await first[0].reader.read(4096)


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("192.0.2.1", "192.0.2.1", True),
        ("192.0.2.1", "192.0.2.2", False),
        ("::ffff:192.0.2.1", "192.0.2.1", True),
        ("::ffff:192.0.2.1", "::ffff:192.0.2.2", False),
        ("2001:db8::1", "2001:db8::ffff:2", True),
        ("2001:db8::1", "2001:db8:0:1::1", False),
        ("fe80::1", "fe80::2", True),
        ("::1", "2001:db8::1", False),
    ],
)
def test_addresses_of_one_host_are_one_client(one: str, other: str, *, same: bool) -> None:
    assert (of_address(ip_address(one)) == of_address(ip_address(other))) is same


async def test_requests_of_clients_that_are_gone_are_not_handled(path: socket.socket) -> None:
    agent = Agent(*MANY)
    async with serving(agent, path):
        for _ in range(40):
            with socket.socket(socket.AF_UNIX) as sock:
                sock.connect(path.getsockname())
                sock.sendall(REQUEST + b"\r\n")
        assert (await ask(path, "/v1/runtime/instances")).status == 200
        listeners = agent.publisher._listeners
        await until(lambda: not any(one._connections or one._waiting for one in listeners))
        # The first of them may be handled before its end is read.
        assert agent.publisher._handlers.requests[200] < 20
