"""A real API server with the controllers of Kubernetes, and what is published of its pods."""

from typing import Any

import pytest

from koi_agent.core.events import Started, Stopped
from koi_agent.core.key import Key
from tests.kubernetes import workloads
from tests.kubernetes.workloads import PORT
from tests.real.followed_cluster import Shop, followed_cluster, opened_shop
from tests.runtimes.followed import PATIENCE, eventually
from tests.runtimes.published_pods import NAME, PublishedPods


def images(server: PublishedPods) -> list[tuple[int, str]]:
    """Return number and image of each instance, by number."""
    return sorted((one.replica, one.image) for one in server.registry.visible.values())


def ports(server: PublishedPods, uid: str) -> set[tuple[str, int, int]]:
    return {(one.host_ip, one.host_port, one.container_port) for one in server.known(uid).ports}


def at_node(service: Any) -> set[tuple[str, int, int]]:
    """Return the ports of a pod behind a Service for IPv4: of the node, and of the cluster."""
    spec = service["spec"]
    assert spec["ipFamilies"] == ["IPv4"]
    number = spec["ports"][0]["nodePort"]
    return {("0.0.0.0", number, PORT), (spec["clusterIP"], 80, PORT)}


async def has_ports(server: PublishedPods, uid: str, wanted: set[tuple[str, int, int]]) -> None:
    """Wait until an instance has these ports."""
    await eventually(
        lambda: Key(NAME, uid) in server.registry.visible and ports(server, uid) == wanted,
        server.disagreement,
        PATIENCE,
    )


async def has_numbers(server: PublishedPods, count: int, image: str = "web:1") -> None:
    """Wait until there are so many instances, with the numbers from 1."""
    wanted = [(number, image) for number in range(1, count + 1)]
    await eventually(lambda: images(server) == wanted, lambda: str(images(server)), PATIENCE)
    await server.agreed()


async def test_a_pod_is_withdrawn_when_it_is_deleted_and_before_it_is_gone(shop: Shop) -> None:
    async with followed_cluster(shop.cluster, shop.scope()) as server:
        shop.calls.create("pods", workloads.pod("web", shop.node), shop.name)
        await eventually(lambda: bool(server.registry.visible), lambda: str(server.status))
        await server.agreed()
        (uid,) = shop.pods().values()
        shop.kubelet.keeps = True
        shop.calls.delete("pods", shop.name, "web")
        await eventually(lambda: server.known(uid).ending, lambda: str(server.known(uid)))
        assert shop.pods() == {"web": uid}
        await server.agreed()
        shop.kubelet.keeps = False
        await eventually(lambda: not server.registry.visible, lambda: str(server.status))
        assert not shop.pods()
        kinds = [type(one) for one in server.events if isinstance(one, Started | Stopped)]
        assert kinds == [Started, Stopped]
        await server.settle()
        assert server.status.drift == 0


async def test_a_deployment_is_scaled_with_the_lowest_numbers(shop: Shop) -> None:
    async with followed_cluster(shop.cluster, shop.scope()) as server:
        shop.calls.create("deployments", workloads.deployment("web", shop.node, 3), shop.name)
        await has_numbers(server, 3)
        for count in (5, 1):
            change = {"spec": {"replicas": count}}
            shop.calls.patch("deployments", shop.name, "web", change)
            await eventually(
                lambda: len(server.registry.visible) == count,  # noqa: B023 - called here
                lambda: str(images(server)),
                PATIENCE,
            )
            await server.agreed()
        ((left, _),) = images(server)
        shop.calls.patch("deployments", shop.name, "web", {"spec": {"replicas": 4}})
        added = [number for number in range(1, 5) if number != left][:3]
        wanted = [(number, "web:1") for number in sorted([left, *added])]
        await eventually(lambda: images(server) == wanted, lambda: str(images(server)), PATIENCE)
        await server.agreed()
        await server.settle()
        assert server.status.drift == 0


async def test_a_rolling_update_replaces_each_replica(shop: Shop) -> None:
    async with followed_cluster(shop.cluster, shop.scope()) as server:
        shop.calls.create("deployments", workloads.deployment("web", shop.node, 3), shop.name)
        await has_numbers(server, 3)
        names = {one.workload for one in server.registry.visible.values()}
        template = {"spec": workloads.pod_spec(shop.node, "web:2")}
        shop.calls.patch("deployments", shop.name, "web", {"spec": {"template": template}})
        await has_numbers(server, 3, "web:2")
        assert names == {one.workload for one in server.registry.visible.values()} == {"web"}
        await server.settle()
        assert server.status.drift == 0


async def test_the_pods_of_a_stateful_set_have_its_numbers(shop: Shop) -> None:
    async with followed_cluster(shop.cluster, shop.scope()) as server:
        record = workloads.deployment("db", shop.node, 2)
        record["spec"]["serviceName"] = "db"
        shop.calls.create("statefulsets", record, shop.name)
        await has_numbers(server, 2)
        numbers = {one.name: one.replica for one in server.registry.visible.values()}
        assert numbers == {"db-0": 1, "db-1": 2}
        await server.settle()
        assert server.status.drift == 0


@pytest.mark.parametrize("node", ["", "all"])
async def test_the_pods_of_this_node_or_of_all_are_published(shop: Shop, node: str) -> None:
    with opened_shop(shop.cluster, f"{shop.name}-b") as other:
        for name, where in (("here", shop.node), ("there", other.node)):
            shop.calls.create("pods", workloads.pod(name, where), shop.name)
        async with followed_cluster(shop.cluster, shop.scope(node)) as server:
            wanted = {"here", "there"} if node else {"here"}
            await eventually(
                lambda: {one.name for one in server.registry.visible.values()} == wanted,
                lambda: str(server.status),
                PATIENCE,
            )
            await server.agreed()
            shop.calls.delete("pods", shop.name, "here")
            shop.calls.delete("pods", shop.name, "there")
            await eventually(lambda: not server.registry.visible, lambda: str(server.status))
            await server.settle()
            assert server.status.drift == 0


async def test_a_node_port_leads_to_the_pods_that_are_ready(shop: Shop) -> None:
    async with followed_cluster(shop.cluster, shop.scope()) as server:
        shop.calls.create("deployments", workloads.deployment("web", shop.node, 2), shop.name)
        await has_numbers(server, 2)
        record = workloads.service("web", "web", {"koi.sylin.org/name": "Shop"}, type="NodePort")
        made = shop.calls.create("services", record, shop.name)
        wanted = at_node(made)
        first, second = shop.pods()
        for uid in shop.pods().values():
            await has_ports(server, uid, wanted)
        await server.agreed()
        change = {"status": {"conditions": [{"type": "Ready", "status": "False"}]}}
        shop.calls.patch("pods", shop.name, first, change, "status")
        uids = shop.pods()
        await has_ports(server, uids[first], {("", 0, PORT)})
        assert ports(server, uids[second]) == wanted
        await server.agreed()
        shop.calls.delete("services", shop.name, "web")
        await has_ports(server, uids[second], {("", 0, PORT)})
        await server.agreed()
        await server.settle()
        assert server.status.drift == 0


async def test_a_load_balancer_has_addresses_and_annotations_of_a_pod_win(shop: Shop) -> None:
    async with followed_cluster(shop.cluster, shop.scope()) as server:
        own = {**workloads.ENABLED, "koi.sylin.org/name": "Own"}
        for name, annotations in (("web", own), ("web-b", workloads.ENABLED)):
            record = workloads.pod(name, shop.node, annotations)
            record["metadata"]["labels"] = {"app": "web"}
            shop.calls.create("pods", record, shop.name)
        given = {"koi.sylin.org/name": "Given", "koi.sylin.org/dns-name": "given"}
        record = workloads.service("web", "web", given, type="LoadBalancer")
        made = shop.calls.create("services", record, shop.name)
        change = {"status": {"loadBalancer": {"ingress": [{"ip": "192.0.2.80"}]}}}
        shop.calls.patch("services", shop.name, "web", change, "status")
        uids = shop.pods()
        wanted = {("192.0.2.80", 80, PORT), *at_node(made)}
        for uid in uids.values():
            await has_ports(server, uid, wanted)
        metadata = [server.known(uids[name]).metadata for name in ("web", "web-b")]
        assert [one.name for one in metadata] == ["Own", "Given"]
        await server.agreed()
        shop.calls.patch(
            "services", shop.name, "web", {"metadata": {"annotations": {"koi.sylin.org/name": "X"}}}
        )
        await eventually(lambda: server.known(uids["web-b"]).metadata.name == "X", "X", PATIENCE)
        await server.agreed()
        await server.settle()
        assert server.status.drift == 0
