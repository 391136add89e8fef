"""A stop loses no request: each accepted connection gets its response."""

import asyncio
import socket
from contextlib import suppress
from typing import Any

import pytest

from koi_agent.publishers.http.limits import Limits
from tests.http.serving import Agent, ask, client, serving, until
from tests.http.tally import PATIENT, asking
from tests.unit.things import unit

WEB = unit("web.service")
NEVER, SOON = Limits(stop_timeout=3600), Limits(stop_timeout=0.2)
REQUEST = b"GET /v1/runtime/status HTTP/1.1\r\nHost: localhost\r\n\r\n"


async def stop(task: asyncio.Task[Any]) -> None:
    """Stop serving; fail if that takes much longer than ``SOON`` allows."""
    task.cancel()
    with suppress(asyncio.CancelledError):
        async with asyncio.timeout(20):
            await task


@pytest.mark.parametrize("already", [0, 10, len(REQUEST)])
async def test_accepted_connection_gets_one_response_at_stop(
    path: socket.socket, already: int
) -> None:
    """At the stop the client has sent no byte of the request, some, or all."""
    async with serving(Agent(WEB), path) as task, client(path) as one:
        await asyncio.sleep(0.05)
        one.writer.write(REQUEST[:already])
        task.cancel()
        await asyncio.sleep(0.1)
        one.writer.write(REQUEST[already:])
        reply = await one.reply()
        assert reply.status == 200
        assert reply.headers["connection"] == "close"
        assert await one.ended()


async def test_request_at_moment_of_stop_gets_response(path: socket.socket) -> None:
    async with serving(Agent(WEB), path) as task, client(path) as one:
        await one.ask("/healthz")
        await asyncio.sleep(0.5)
        one.writer.write(REQUEST)  # in the kernel, not read yet
        task.cancel()
        reply = await one.reply()
        assert (reply.status, reply.headers["connection"]) == (200, "close")


async def test_idle_connection_does_not_delay_stop(path: socket.socket) -> None:
    async with serving(Agent(WEB, limits=NEVER), path) as task, client(path) as one:
        await one.ask("/healthz")
        await stop(task)
        assert await one.ended()


async def test_silent_connection_delays_stop_by_its_timeout_only(path: socket.socket) -> None:
    async with serving(Agent(WEB, limits=SOON), path) as task, client(path) as one:
        await asyncio.sleep(0.05)
        await stop(task)
        assert await one.ended()


async def test_unread_response_delays_stop_by_its_timeout_only(path: socket.socket) -> None:
    many = [unit(f"u{number}.service") for number in range(3000)]
    agent = Agent(*many, limits=SOON)
    async with serving(agent, path) as task, client(path) as one, client(path) as other:
        for reader, target in ((one, "/v1/runtime/instances"), (other, "/v1/runtime/events")):
            reader.writer.transport.pause_reading()  # type: ignore[attr-defined]
            reader.send(target)
        await until(lambda: len(agent.streams) == 1)
        await asyncio.sleep(0.1)
        await stop(task)


async def test_connection_after_stop_waits_for_next_server(
    path: socket.socket,
) -> None:
    first, second = Agent(), Agent(WEB)
    async with serving(first, path):
        assert (await ask(path, "/v1/runtime/status")).json["instance_count"] == 0
    async with client(path) as one:
        one.writer.write(REQUEST)
        await asyncio.sleep(0.05)
        async with serving(second, path):
            assert (await one.reply()).json["instance_count"] == 1


async def test_publisher_can_serve_again_on_other_sockets(
    path: socket.socket, loopback: socket.socket
) -> None:
    agent = Agent(WEB)
    for listening in (path, loopback, path):
        async with serving(agent, listening):
            reply = await ask(listening, "/v1/runtime/status")
            assert reply.json["instance_count"] == 1
            assert "connection" not in reply.headers


async def test_no_request_fails_in_two_hundred_stops(path: socket.socket) -> None:
    """None of these clients retries."""
    agent = Agent(WEB, limits=PATIENT)
    async with asking(path) as tally:
        for _ in range(200):
            async with serving(agent, path):
                await tally.more(5)
        async with serving(agent, path):
            await tally.end()
    assert tally.met.keys() == {"200"}
    assert tally.met["200"] >= 1000
