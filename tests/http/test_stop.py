"""A stop loses no request: each accepted connection is answered."""

import asyncio
import socket
from contextlib import suppress

import pytest

from koi_agent.publishers.http.publisher import STOP_PATIENCE
from tests.http.serving import Told, ask, client, serving, until
from tests.http.tally import asking
from tests.unit.things import unit
from tests.unit.virtual_time import in_virtual_time, now

WEB = unit("web.service")
REQUEST = b"GET /v1/runtime/status HTTP/1.1\r\nHost: localhost\r\n\r\n"


@pytest.mark.parametrize("already", [0, 10, len(REQUEST)])
@in_virtual_time
async def test_an_accepted_client_gets_one_answer_with_connection_close(
    path: socket.socket, already: int
) -> None:
    """At the stop the client has sent no byte of the request, some, or all."""
    async with serving(Told(WEB), path) as task, client(path) as one:
        await asyncio.sleep(0.05)
        one.writer.write(REQUEST[:already])
        task.cancel()
        await asyncio.sleep(0.1)
        one.writer.write(REQUEST[already:])
        reply = await one.reply()
        assert reply.status == 200
        assert reply.headers["connection"] == "close"
        assert await one.ended()


@in_virtual_time
async def test_a_request_at_the_moment_of_the_stop_is_answered(path: socket.socket) -> None:
    async with serving(Told(WEB), path) as task, client(path) as one:
        await one.ask("/healthz")
        await asyncio.sleep(0.5)
        one.writer.write(REQUEST)  # in the kernel, not read yet
        task.cancel()
        reply = await one.reply()
        assert (reply.status, reply.headers["connection"]) == (200, "close")


@in_virtual_time
async def test_an_idle_client_does_not_delay_the_stop(path: socket.socket) -> None:
    async with serving(Told(WEB), path) as task, client(path) as one:
        await one.ask("/healthz")
        await asyncio.sleep(0.3)
        began = now()
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
        assert now() - began < STOP_PATIENCE / 2
        assert await one.ended()


@in_virtual_time
async def test_a_silent_client_delays_the_stop_until_its_time_limit(path: socket.socket) -> None:
    async with serving(Told(WEB), path) as task, client(path) as one:
        await asyncio.sleep(0.05)
        began = now()
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
        assert now() - began == pytest.approx(STOP_PATIENCE)
        assert await one.ended()


@in_virtual_time
async def test_a_client_that_reads_nothing_delays_the_stop_until_its_time_limit(
    path: socket.socket,
) -> None:
    told = Told(*(unit(f"u{number}.service") for number in range(3000)))
    async with serving(told, path) as task, client(path) as one, client(path) as other:
        for reader, target in ((one, "/v1/runtime/instances"), (other, "/v1/runtime/events")):
            reader.writer.transport.pause_reading()  # type: ignore[attr-defined]
            reader.send(target)
        await until(lambda: len(told.streams) == 1)
        await asyncio.sleep(0.1)
        began = now()
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
        assert now() - began <= STOP_PATIENCE + 0.1


@in_virtual_time
async def test_a_client_that_waits_after_a_stop_is_served_by_the_next_publisher(
    path: socket.socket,
) -> None:
    first, second = Told(), Told(WEB)
    async with serving(first, path):
        assert (await ask(path, "/v1/runtime/status")).json["instance_count"] == 0
    async with client(path) as one:
        one.writer.write(REQUEST)
        await asyncio.sleep(0.05)
        async with serving(second, path):
            assert (await one.reply()).json["instance_count"] == 1


async def test_one_publisher_serves_again_on_other_sockets(
    path: socket.socket, loopback: socket.socket
) -> None:
    told = Told(WEB)
    for listening in (path, loopback, path):
        async with serving(told, listening):
            reply = await ask(listening, "/v1/runtime/status")
            assert reply.json["instance_count"] == 1
            assert "connection" not in reply.headers


@in_virtual_time
async def test_no_client_notices_two_hundred_ends(path: socket.socket) -> None:
    """The clients never retry a request."""
    told = Told(WEB)
    async with asking(path) as tally:
        for _ in range(200):
            async with serving(told, path):
                await tally.more(5)
        async with serving(told, path):
            await tally.end()
    assert tally.met.keys() == {"200"}
    assert tally.met["200"] >= 1000
