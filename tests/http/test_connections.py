"""Clients that are slow, many, broken or hostile."""

import asyncio
import logging
import resource
import socket
from contextlib import AsyncExitStack
from dataclasses import replace

import pytest

from koi_agent.publishers.http.limits import Limits
from tests.http.serving import Agent, Client, ask, client, serving, until
from tests.unit.things import unit

WEB = unit("web.service")
FEW = Limits(connections=8)


async def test_connection_serves_many_requests(path: socket.socket) -> None:
    async with serving(Agent(WEB), path), client(path) as one:
        for _ in range(100):
            assert (await one.ask("/v1/runtime/instances")).status == 200


async def test_pipelined_requests_get_responses_in_order(path: socket.socket) -> None:
    async with serving(Agent(), path), client(path) as one:
        for target in ("/healthz", "/nowhere", "/v1/status"):
            one.send(target)
        assert [(await one.reply()).status for _ in range(3)] == [200, 404, 200]


async def test_request_can_arrive_in_pieces(path: socket.socket) -> None:
    async with serving(Agent(), path), client(path) as one:
        for byte in b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n":
            one.writer.write(bytes([byte]))
            await asyncio.sleep(0.001)
        assert (await one.reply()).status == 200


@pytest.mark.parametrize("sent", [b"", b"GET /healthz HTTP/1.1\r\nHost: x\r\n"])
async def test_connection_without_request_is_closed(path: socket.socket, sent: bytes) -> None:
    agent = Agent(limits=Limits(request_timeout=0.1))
    async with serving(agent, path), client(path) as one:
        one.writer.write(sent)
        assert await one.ended()


async def test_slow_request_does_not_extend_its_deadline(
    path: socket.socket,
) -> None:
    agent = Agent(limits=Limits(request_timeout=0.3))
    async with serving(agent, path), client(path) as one, asyncio.TaskGroup() as group:
        await one.ask("/healthz")
        one.writer.write(b"GET /healthz HTTP/1.1\r\n")
        sending = group.create_task(send_headers(one))
        assert await one.ended()
        sending.cancel()


async def send_headers(one: Client) -> None:
    while True:
        one.writer.write(b"X: x\r\n")
        await asyncio.sleep(0.02)


async def test_idle_connection_is_closed(
    path: socket.socket,
) -> None:
    agent = Agent(limits=Limits(idle_timeout=0.1))
    async with serving(agent, path), client(path) as one:
        assert (await one.ask("/healthz")).status == 200
        assert await one.ended()


async def test_response_that_is_not_read_is_aborted(
    path: socket.socket, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    many = [unit(f"u{number}.service") for number in range(3000)]
    agent = Agent(*many, limits=Limits(write_timeout=0.2))
    async with serving(agent, path), client(path) as one:
        one.writer.transport.pause_reading()  # type: ignore[attr-defined]
        one.send("/v1/runtime/instances")
        await until(lambda: "did not read its response" in caplog.text)
        one.writer.transport.resume_reading()  # type: ignore[attr-defined]
        with pytest.raises(asyncio.IncompleteReadError):
            await one.reply()


@pytest.mark.parametrize(
    "sent",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"HELO\r\n\r\n",
        b"GET / HTTP/1.1\r\nContent-Length: x\r\n\r\n",
        b"GET /" + b"a" * 9000 + b" HTTP/1.1\r\n\r\n",
        b"GET / HTTP/1.1\r\nX: " + b"a" * 9000 + b"\r\n\r\n",
    ],
)
async def test_malformed_request_gets_error_and_no_log_record(
    path: socket.socket, caplog: pytest.LogCaptureFixture, sent: bytes
) -> None:
    async with serving(Agent(), path), client(path) as one:
        one.writer.write(sent)
        one.writer.write_eof()
        reply = await one.reply()
        assert (reply.status, reply.json["error"]) == (400, "invalid_request")
        assert reply.headers["connection"] == "close"
        assert reply.headers["server"] == "koi-runtime"
        assert await one.ended()
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]


async def test_endless_head_is_cut_off(path: socket.socket) -> None:
    async with serving(Agent(), path), client(path) as one:
        one.writer.write(b"GET / HTTP/1.1\r\n")
        for number in range(10_000):
            one.writer.write(b"X-%d: aaaaaaaaaaaaaaaaaaaa\r\n" % number)
        assert await one.cut()


async def test_requests_behind_stream_are_not_all_read(path: socket.socket) -> None:
    async with serving(Agent(), path), client(path) as one:
        one.send("/v1/runtime/events")
        await one.head()
        one.writer.write(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n" * 50_000)
        with pytest.raises((TimeoutError, ConnectionError)):
            await drained(one)
        one.writer.transport.abort()


async def drained(one: Client) -> None:
    async with asyncio.timeout(1):
        await one.writer.drain()


@pytest.mark.parametrize("target", ["/healthz", "/v1/runtime/instances"])
async def test_half_closed_connection_gets_response(path: socket.socket, target: str) -> None:
    async with serving(Agent(WEB), path), client(path) as one:
        one.send(target)
        one.writer.write_eof()
        reply = await one.reply()
        assert reply.status == 200
        assert await one.ended()


async def test_incomplete_request_at_end_gets_no_response(path: socket.socket) -> None:
    async with serving(Agent(), path), client(path) as one:
        one.writer.write(b"GET /healthz HTTP/1.1\r\n")
        one.writer.write_eof()
        assert await one.ended()


async def test_internal_error_is_logged_without_details_in_response(
    path: socket.socket, caplog: pytest.LogCaptureFixture
) -> None:
    agent = Agent(replace(WEB, ports=7))  # type: ignore[arg-type]
    async with serving(agent, path), client(path) as one:
        reply = await one.ask("/v1/runtime/instances")
        assert (reply.status, reply.json["error"]) == (500, "internal")
        assert b"Traceback" not in reply.body
        assert b"int" not in reply.body.replace(b"internal", b"")
        assert await one.ended()
        assert (await ask(path, "/healthz")).status == 200
    assert "TypeError" in caplog.text
    caplog.clear()


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("localhost", 200),
        ("LocalHost:80", 200),
        ("127.0.0.1", 200),
        ("127.0.0.1:1234", 200),
        ("[::1]", 200),
        ("[::1]:80", 200),
        ("evil.example", 403),
        ("evil.example:80", 403),
        ("localhost.evil.example", 403),
        ("localhost@evil.example", 403),
        ("127.0.0.2", 403),
        ("[::2]", 403),
        ("::1]", 403),
        ("", 403),
    ],
)
async def test_foreign_host_is_refused_over_tcp(
    loopback: socket.socket, host: str, status: int
) -> None:
    async with serving(Agent(), loopback), client(loopback) as one:
        one.writer.write(f"GET /healthz HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
        reply = await one.reply()
    assert reply.status == status
    if status == 403:
        assert reply.json["error"] == "forbidden_host"


async def test_client_of_a_socket_for_both_families_may_name_its_own_address() -> None:
    with socket.create_server(("::", 0), family=socket.AF_INET6, dualstack_ipv6=True) as listening:
        listening.setblocking(False)  # noqa: FBT003 - the socket's own
        port = listening.getsockname()[1]
        async with serving(Agent(), listening):
            for address, host in [
                ("127.0.0.2", f"127.0.0.2:{port}"),
                ("127.0.0.2", f"[::ffff:127.0.0.2]:{port}"),
                ("::1", f"[0:0:0:0:0:0:0:1]:{port}"),
            ]:
                reader, writer = await asyncio.open_connection(address, port)
                writer.write(f"GET /healthz HTTP/1.0\r\nHost: {host}\r\n\r\n".encode())
                assert b" 200 " in await reader.readline()
                writer.close()


@pytest.mark.parametrize("hosts", ["", "Host: localhost\r\nHost: localhost\r\n"])
async def test_exactly_one_host_is_required_over_tcp(loopback: socket.socket, hosts: str) -> None:
    async with serving(Agent(), loopback), client(loopback) as one:
        one.writer.write(f"GET /healthz HTTP/1.1\r\n{hosts}\r\n".encode())
        assert (await one.reply()).status in {400, 403}


async def test_any_host_is_accepted_at_path(path: socket.socket) -> None:
    async with serving(Agent(), path), client(path) as one:
        for version in (b"1.1\r\nHost: whatever.example", b"1.0"):
            one.writer.write(b"GET /healthz HTTP/" + version + b"\r\n\r\n")
            assert (await one.reply()).status == 200


async def test_unix_and_tcp_sockets_are_served_together(
    path: socket.socket, loopback: socket.socket
) -> None:
    async with serving(Agent(), path, loopback):
        assert (await ask(path, "/healthz")).status == 200
        assert (await ask(loopback, "/healthz")).status == 200


async def test_more_clients_than_limit_are_all_served(path: socket.socket) -> None:
    async with serving(Agent(limits=FEW), path), asyncio.TaskGroup() as group:
        asked = [group.create_task(ask(path, "/healthz")) for _ in range(4 * FEW.connections)]
    assert {task.result().status for task in asked} == {200}


async def test_idle_connection_is_closed_for_waiting_client(path: socket.socket) -> None:
    async with serving(Agent(limits=FEW), path), AsyncExitStack() as opened:
        clients = [await opened.enter_async_context(client(path)) for _ in range(FEW.connections)]
        for one in clients:
            assert (await one.ask("/healthz")).status == 200
        assert (await ask(path, "/healthz")).status == 200
        assert await clients[0].ended()
        assert (await clients[1].ask("/healthz")).status == 200


async def test_connection_without_response_is_not_closed_for_others(path: socket.socket) -> None:
    async with serving(Agent(limits=FEW), path), AsyncExitStack() as opened:
        clients = [await opened.enter_async_context(client(path)) for _ in range(FEW.connections)]
        async with client(path) as waiting:
            waiting.send("/healthz")
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.2):
                    await waiting.head()
            assert (await clients[5].ask("/healthz")).status == 200
            assert (await waiting.reply()).status == 200


async def test_lack_of_descriptors_is_logged_once_and_passes(
    path: socket.socket, caplog: pytest.LogCaptureFixture
) -> None:
    agent = Agent(limits=Limits(accept_pause=0.1))
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    async with serving(agent, path), client(path) as one:
        resource.setrlimit(resource.RLIMIT_NOFILE, (0, hard))
        try:
            one.send("/healthz")
            await asyncio.sleep(0.5)
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        assert (await one.reply()).status == 200
    warnings = [r for r in caplog.records if "can't accept connections: " in r.message]
    assert len(warnings) == 1


async def test_clients_can_disconnect_at_any_point(path: socket.socket) -> None:
    agent = Agent(*(unit(f"u{number}.service") for number in range(500)))
    whole = b"GET /v1/runtime/instances HTTP/1.1\r\nHost: x\r\n\r\n"
    async with serving(agent, path):
        for length in range(0, len(whole) + 1, 3):
            async with client(path) as one:
                one.writer.write(whole[:length])
                await one.writer.drain()
        async with client(path) as one:
            one.writer.write(whole)
            await one.reader.readexactly(1000)
        assert (await ask(path, "/healthz")).status == 200
