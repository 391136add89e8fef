"""Answers about ten thousand instances: they are complete, and other clients are served."""

import socket
from dataclasses import replace

from koi_agent.core.instance import Health, KoiMetadata
from tests.costs import stalls
from tests.http.serving import Agent, Client, client, events, serving
from tests.http.things import HTTP
from tests.unit.things import container

MANY = 10_000
STALL = 0.4
"""The part of an answer's processor time that other clients may have to wait at once."""


def many() -> Agent:
    metadata = KoiMetadata(enable=True, name="shop", txt=(("path", "/"), ("v", "1")))
    one = replace(container("x"), ports=(HTTP, HTTP), ips=("172.17.0.2",), metadata=metadata)
    one = replace(one, health=Health.HEALTHY)
    return Agent(*(replace(one, id=f"{number:064x}", name=f"c{number}") for number in range(MANY)))


async def test_long_list_does_not_block_others(path: socket.socket) -> None:
    agent = many()
    async with serving(agent, path), client(path) as one:
        async with stalls() as found:
            length = await taken(one, "/v1/runtime/instances")
        assert length > MANY * 500
        assert found.share < STALL
        async with stalls() as again:  # from the cache, in a fraction of the time
            assert await taken(one, "/v1/runtime/instances") == length
        assert again.longest < STALL * found.total


async def taken(one: Client, target: str) -> int:
    """Read an answer and discard it; returns its length in bytes."""
    one.send(target)
    head = await one.head()
    length = left = int(head.headers["content-length"])
    while left:
        left -= len(await one.reader.read(min(left, 1 << 20)))
    return length


async def test_long_snapshot_is_complete_and_does_not_block_others(path: socket.socket) -> None:
    agent = many()
    async with serving(agent, path), client(path) as one:
        one.send("/v1/runtime/events")
        await one.head()
        async with stalls() as found:
            text = b""
            while not text.endswith(b"]}}\n\n"):
                text = text[-100:] + await one.chunk()
        assert found.share < STALL
    async with serving(agent, path), events(path) as stream:
        shown = (await stream.next())["data"]["data"]["instances"]
    assert len({instance["id"] for instance in shown}) == MANY


async def test_other_long_responses_do_not_block_others(path: socket.socket) -> None:
    agent = many()
    async with serving(agent, path), client(path) as one:
        async with stalls() as targets:
            await taken(one, "/v1/sd/prometheus")
        async with stalls() as statuses:
            await taken(one, "/v1/health/status")
        async with stalls() as metrics:
            await taken(one, "/metrics")
        assert max(targets.share, statuses.share) < STALL
        assert metrics.total < STALL * statuses.total  # it only counts, without a pause
