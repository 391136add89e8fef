"""A real API server with 5 000 pods, which come, change and go."""

import asyncio
from typing import Final

import pytest

from koi_agent.backends.kubernetes.tunables import Tunables
from tests.kubernetes.cluster import Cluster
from tests.kubernetes.crowd import Crowd
from tests.real.followed_cluster import FollowedCluster, followed_cluster, opened_shop
from tests.runtimes.followed import eventually

COUNT: Final = 5000
LONG: Final = 600.0
"""Seconds for thousands of requests on a busy machine."""


async def are_published(server: FollowedCluster, count: int) -> None:
    await eventually(
        lambda: len(server.registry.visible) == count,
        lambda: f"{len(server.registry.visible)} of {count} {server.status}",
        LONG,
    )
    await server.agreed()


@pytest.mark.timeout(1800)
async def test_thousands_of_pods_are_followed(own_cluster: Cluster) -> None:
    with (
        opened_shop(own_cluster, "shop") as shop,
        Crowd(own_cluster, shop.name, shop.node) as crowd,
        Crowd(own_cluster, shop.name, shop.node) as later,
    ):
        shop.kubelet.end()
        half = COUNT // 2
        await asyncio.to_thread(crowd.start, range(half))
        tunables = Tunables(watch=5, watch_grace=3)
        async with followed_cluster(own_cluster, shop.scope(), tunables=tunables) as server:
            await are_published(server, half)
            await asyncio.to_thread(crowd.start, range(half, COUNT))
            await are_published(server, COUNT)
            renamed = [*range(0, COUNT, 5)] * 4
            async with asyncio.TaskGroup() as group:
                changes = group.create_task(
                    asyncio.to_thread(
                        crowd.each, lambda calls, one: crowd.rename(calls, one, f"N{one}"), renamed
                    )
                )
                # The server does not complete each list at the beginning of a watch meanwhile.
                while not changes.done():
                    await server.follower.resync()
            assert server.status.reconnects == 0
            await asyncio.to_thread(crowd.each, crowd.end, range(1, COUNT, 5))
            await are_published(server, COUNT - COUNT // 5)
            await server.settle()
            own_cluster.server.end()
            await asyncio.to_thread(own_cluster.start_server)
            await asyncio.to_thread(later.each, later.end, range(2, COUNT, 5))
            await are_published(server, COUNT - 2 * (COUNT // 5))
            await server.settle()
            assert server.status.drift == 0
