"""An end that loses nothing: each connection that was accepted is answered."""

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
async def test_who_is_accepted_is_answered_once_and_told_that_it_is_the_end(
    path: socket.socket, already: int
) -> None:
    """At the stop no byte of the request is sent yet, or some, or all."""
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
async def test_who_asks_at_the_very_moment_is_answered(path: socket.socket) -> None:
    async with serving(Told(WEB), path) as task, client(path) as one:
        await one.ask("/healthz")
        await asyncio.sleep(0.5)
        one.writer.write(REQUEST)  # in the kernel, and nobody has read it
        task.cancel()
        reply = await one.reply()
        assert (reply.status, reply.headers["connection"]) == (200, "close")


@in_virtual_time
async def test_who_is_idle_does_not_make_a_stop_longer(path: socket.socket) -> None:
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
async def test_who_says_nothing_makes_a_stop_no_longer_than_its_bound(path: socket.socket) -> None:
    async with serving(Told(WEB), path) as task, client(path) as one:
        await asyncio.sleep(0.05)
        began = now()
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
        assert now() - began == pytest.approx(STOP_PATIENCE)
        assert await one.ended()


@in_virtual_time
async def test_who_reads_nothing_makes_a_stop_no_longer_than_its_bound(path: socket.socket) -> None:
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
async def test_nobody_is_accepted_after_a_stop_and_the_next_serves_who_waits(
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


async def test_no_client_notices_two_hundred_ends(path: socket.socket) -> None:
    """None of these clients tries anything twice."""
    told = Told(WEB)
    async with asking(path) as tally:
        for _ in range(200):
            async with serving(told, path):
                await tally.more(5)
        async with serving(told, path):
            await tally.end()
    assert tally.met.keys() == {"200"}
    assert tally.met["200"] >= 1000
