"""A real API server that ends, and etcd behind it; what is published follows."""

import asyncio
import signal
from collections.abc import Iterator

import pytest

from koi_agent.backends.kubernetes.tunables import Tunables
from koi_agent.core.events import BackendState
from tests.kubernetes import workloads
from tests.kubernetes.cluster import Cluster
from tests.real.followed_cluster import FollowedCluster, Shop, followed_cluster, opened_shop
from tests.runtimes.followed import PATIENCE, eventually
from tests.runtimes.followed_kubernetes import is_synced

SLOW = pytest.mark.timeout(600)


@pytest.fixture
def fragile(own_cluster: Cluster) -> Iterator[Shop]:
    """A shop of a cluster that the test stops."""
    with opened_shop(own_cluster, "shop") as opened:
        yield opened


def created(shop: Shop, *names: str) -> None:
    for name in names:
        shop.calls.create("pods", workloads.pod(name, shop.node), shop.name)


async def are_published(server: FollowedCluster, *names: str) -> None:
    await eventually(
        lambda: sorted(one.name for one in server.registry.visible.values()) == sorted(names),
        lambda: f"{list(server.registry.visible)} {server.status}",
        PATIENCE,
    )
    await server.agreed()


async def is_stale(server: FollowedCluster) -> None:
    await eventually(
        lambda: server.state is BackendState.STALE, lambda: str(server.status), PATIENCE
    )


async def test_a_server_that_is_killed_is_followed_again(fragile: Shop) -> None:
    cluster = fragile.cluster
    async with followed_cluster(cluster, fragile.scope()) as server:
        created(fragile, "web", "gone")
        await are_published(server, "web", "gone")
        cluster.server.end()
        await is_stale(server)
        assert all(one.stale for one in server.registry.visible.values())
        await asyncio.to_thread(cluster.start_server)
        fragile.calls.delete("pods", fragile.name, "gone", now=True)
        created(fragile, "later")
        await are_published(server, "web", "later")
        assert not any(one.stale for one in server.registry.visible.values())
        await server.settle()
        assert server.status.drift == 0


@SLOW
async def test_a_server_that_is_stopped_with_an_open_watch_is_followed_again(
    fragile: Shop,
) -> None:
    cluster = fragile.cluster
    async with followed_cluster(cluster, fragile.scope()) as server:
        created(fragile, "web", "gone")
        await are_published(server, "web", "gone")
        # It is silent, and does not end, before its watches do: for a minute at most.
        cluster.server.send(signal.SIGTERM)
        await is_stale(server)
        await asyncio.to_thread(cluster.server.wait)
        await asyncio.to_thread(cluster.start_server)
        fragile.calls.delete("pods", fragile.name, "gone", now=True)
        created(fragile, "later")
        await are_published(server, "web", "later")
        await server.settle()
        assert server.status.drift == 0


@SLOW
async def test_etcd_that_is_away_for_a_while_is_waited_for(fragile: Shop) -> None:
    cluster = fragile.cluster
    tunables = Tunables(watch=5, watch_grace=3, list_delay=0.05, response=3, streaming=5)
    async with followed_cluster(cluster, fragile.scope(), tunables=tunables, interval=1) as server:
        created(fragile, "web")
        await are_published(server, "web")
        cluster.etcd.end()
        await is_stale(server)
        assert "no response within 3 s" in server.status.last_error
        await asyncio.to_thread(cluster.start_etcd)
        await is_synced(server)
        created(fragile, "later")
        await are_published(server, "web", "later")
        await server.settle()
        assert server.status.drift == 0


@SLOW
async def test_another_cluster_in_its_place_has_other_pods(fragile: Shop) -> None:
    cluster = fragile.cluster
    async with followed_cluster(cluster, fragile.scope()) as server:
        created(fragile, "web", "gone")
        await are_published(server, "web", "gone")
        (before,) = (key for key, one in server.registry.visible.items() if one.name == "web")
        await asyncio.to_thread(cluster.replace)
        fragile.calls.create("namespaces", {"metadata": {"name": fragile.name}})
        fragile.calls.create("nodes", {"metadata": {"name": fragile.node}})
        created(fragile, "web", "later")
        await are_published(server, "web", "later")
        assert before not in server.registry.visible
        await server.settle()
        assert server.status.drift == 0


@SLOW
async def test_history_that_was_compacted_leads_to_a_list(own_cluster: Cluster) -> None:
    own_cluster.server.end()
    own_cluster.start_server("--watch-cache=false")
    with opened_shop(own_cluster, "shop") as shop:
        async with followed_cluster(own_cluster, shop.scope()) as server:
            created(shop, "web", "gone")
            await are_published(server, "web", "gone")
            # Nothing has happened to Services: their watch is opened again at an old version.
            own_cluster.compact()
            await eventually(
                lambda: "no longer has the events" in server.log.text,
                lambda: server.log.text,
                PATIENCE,
            )
            shop.calls.delete("pods", shop.name, "gone", now=True)
            await are_published(server, "web")
            await server.settle()
            assert (server.status.drift, server.status.reconnects) == (0, 0)


async def test_a_server_that_only_has_pages_is_followed(own_cluster: Cluster) -> None:
    own_cluster.server.end()
    own_cluster.start_server("--feature-gates=WatchList=false")
    with opened_shop(own_cluster, "shop") as shop:
        names = [f"web-{number}" for number in range(8)]
        created(shop, *names)
        tunables = Tunables(watch=5, watch_grace=3, list_delay=0.05, page=3)
        async with followed_cluster(own_cluster, shop.scope(), tunables=tunables) as server:
            await are_published(server, *names)
            shop.calls.delete("pods", shop.name, names[0], now=True)
            await are_published(server, *names[1:])
            await server.settle()
            assert (server.status.drift, server.status.reconnects) == (0, 0)
