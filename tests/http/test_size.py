"""Ten thousand instances: how long others wait meanwhile, and that all of them arrive."""

import asyncio
import gc
import socket
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace

from koi_agent.core.instance import Health, KoiMetadata
from tests.http.serving import Client, Told, client, events, serving
from tests.http.things import HTTP
from tests.unit.things import container

MANY = 10_000
STALL = 0.05
"""Seconds of processor time that others may have to wait."""


def many() -> Told:
    metadata = KoiMetadata(enable=True, name="shop", txt=(("path", "/"), ("v", "1")))
    one = replace(container("x"), ports=(HTTP, HTTP), ips=("172.17.0.2",), metadata=metadata)
    one = replace(one, health=Health.HEALTHY)
    return Told(*(replace(one, id=f"{number:064x}", name=f"c{number}") for number in range(MANY)))


@asynccontextmanager
async def stalls() -> AsyncIterator[list[float]]:
    """Measure the processor time between turns of the loop; the longest is last."""
    found = [0.0]

    async def watch() -> None:
        while True:
            before = time.process_time()
            await asyncio.sleep(0)
            found.append(time.process_time() - before)

    gc.collect()
    gc.freeze()  # the test's own ten thousand are no garbage of the agent's
    async with asyncio.TaskGroup() as group:
        task = group.create_task(watch())
        try:
            yield found
        finally:
            task.cancel()
            gc.unfreeze()
    found.sort()


async def test_a_long_list_keeps_nobody_waiting(path: socket.socket) -> None:
    told = many()
    asyncio.get_running_loop().set_debug(False)
    async with serving(told, path), client(path) as one:
        for _ in range(2):
            async with stalls() as found:
                length = await taken(one, "/v1/runtime/instances")
            assert length > MANY * 500
            assert found[-1] < STALL


async def taken(one: Client, target: str) -> int:
    """Read an answer without looking at it; returns its length."""
    one.send(target)
    head = await one.head()
    length = left = int(head.headers["content-length"])
    while left:
        left -= len(await one.reader.read(min(left, 1 << 20)))
    return length


async def test_a_long_snapshot_keeps_nobody_waiting_and_is_whole(path: socket.socket) -> None:
    told = many()
    asyncio.get_running_loop().set_debug(False)
    async with serving(told, path), client(path) as one:
        one.send("/v1/runtime/events")
        await one.head()
        async with stalls() as found:
            text = b""
            while not text.endswith(b"]}}\n\n"):
                text = text[-100:] + await one.chunk()
        assert found[-1] < STALL
    async with serving(told, path), events(path) as stream:
        shown = (await stream.next())["data"]["data"]["instances"]
    assert len({instance["id"] for instance in shown}) == MANY


async def test_other_long_pages_keep_nobody_waiting(path: socket.socket) -> None:
    told = many()
    asyncio.get_running_loop().set_debug(False)
    async with serving(told, path), client(path) as one:
        for target in ("/metrics", "/v1/health/status", "/v1/sd/prometheus"):
            async with stalls() as found:
                await taken(one, target)
            assert found[-1] < STALL, target
