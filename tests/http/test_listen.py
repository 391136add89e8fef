"""Sockets of ``Listen=`` while the configuration changes."""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing

import pytest

from koi_agent.config import Config
from koi_agent.config.readers import listeners
from koi_agent.config.sections import HTTPConfig
from koi_agent.core.errors import ConfigError
from koi_agent.publishers.http.service import HTTPService
from koi_agent.publishers.http.sockets import HTTPSockets
from tests.http.serving import Agent
from tests.ports import free_port

ANY = "*:{port}"
LOOPBACK = "{port}"
ONE = "127.0.0.1:{port}"


def config(listen: str, hosts: tuple[str, ...] = ()) -> Config:
    return Config(scope="system", http=HTTPConfig(listen=listeners(listen), hosts=hosts))


@pytest.fixture
def port() -> int:
    """A free port, of both families."""
    return free_port()


@asynccontextmanager
async def service(listen: str) -> AsyncIterator[HTTPService]:
    with closing(HTTPSockets(config(listen), (), {}, by_hand=False)) as sockets:
        agent = Agent()
        running = HTTPService(sockets, agent.registry, agent.grace, lambda: agent.status)
        async with asyncio.TaskGroup() as group:
            task = group.create_task(running.run())
            yield running
            task.cancel()


async def answers(host: str, port: int, name: str = "localhost") -> bool:
    """Return True if the port answers; False if nothing listens there."""
    try:
        reader, writer = await asyncio.open_connection(host, port)
    except OSError:
        return False
    head = f"GET /healthz HTTP/1.1\r\nHost: {name}\r\nConnection: close\r\n\r\n"
    writer.write(head.encode())
    async with asyncio.timeout(60):
        answer = await reader.read()
    writer.close()
    return answer.startswith(b"HTTP/1.1 200")


CHANGES = [
    (LOOPBACK, ANY),
    (ANY, LOOPBACK),
    (ONE, ANY),
    (ANY, ONE),
    (ONE, LOOPBACK),
    (ONE, "0.0.0.0:{port}"),
    (LOOPBACK, ONE),
    (LOOPBACK, "127.0.0.2:{port} " + ONE),
]


@pytest.mark.parametrize(("before", "after"), CHANGES)
async def test_socket_that_overlaps_replaces_the_other(port: int, before: str, after: str) -> None:
    async with service(before.format(port=port)) as running:
        for listen in (before, after, before, after, after):
            running.change(config(listen.format(port=port)))
            assert await answers("127.0.0.1", port)
        everywhere = "127.0.0.2" in after or after in (ANY, "0.0.0.0:{port}")
        assert await answers("127.0.0.2", port) == everywhere


@pytest.mark.parametrize(("before", "after"), CHANGES)
async def test_old_socket_serves_again_if_the_new_one_fails(
    port: int, before: str, after: str
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        refused = f"{after} 127.0.0.1:{taken.getsockname()[1]}"
        async with service(before.format(port=port)) as running:
            for _ in range(3):
                with pytest.raises(ConfigError, match=r"Listen=: .*in use"):
                    running.change(config(refused.format(port=port)))
                assert await answers("127.0.0.1", port)
            running.change(config(after.format(port=port)))
            assert await answers("127.0.0.1", port)


async def test_request_in_progress_is_answered_on_the_old_socket(port: int) -> None:
    async with service(LOOPBACK.format(port=port)) as running:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        running.change(config(ANY.format(port=port)))
        writer.write(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
        async with asyncio.timeout(60):
            assert (await reader.read()).startswith(b"HTTP/1.1 200")
        writer.close()
        assert await answers("127.0.0.1", port)


async def test_hosts_are_reloaded(port: int) -> None:
    text = ONE.format(port=port)
    async with service(text) as running:
        assert not await answers("127.0.0.1", port, "nas.example.org")
        running.change(config(text, ("nas.example.org", "198.51.100.7")))
        for name in ("nas.example.org", "NAS.example.org.:80", "198.51.100.7", "localhost"):
            assert await answers("127.0.0.1", port, name)
        for name in ("example.org", "www.nas.example.org", "nas.example.org.evil.example"):
            assert not await answers("127.0.0.1", port, name)
        running.change(config(text))
        assert not await answers("127.0.0.1", port, "nas.example.org")
