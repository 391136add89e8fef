"""A fake cluster that behaves, and what is published of it."""

from collections import deque
from pathlib import Path

from koi_agent.capabilities.mdns.requests import ServiceRequest
from koi_agent.capabilities.mdns.rules import MdnsRules
from koi_agent.core.events import Started, Stopped
from koi_agent.core.key import Key
from koi_agent.core.plan.requests import Contender, Policy
from tests.runtimes.followed import eventually
from tests.runtimes.followed_kubernetes import (
    NAME,
    followed_kubernetes,
    is_synced,
    started,
)


async def test_a_life_is_published_step_by_step(tmp_path: Path) -> None:
    async with followed_kubernetes(tmp_path) as server:
        cluster = server.cluster
        web = cluster.create("web-1")
        await server.agreed()
        cluster.run(web)
        await eventually(lambda: bool(server.registry.visible), lambda: str(server.status))
        await server.agreed()
        for step in (cluster.crash, cluster.run, cluster.terminate):
            step(web)
            await server.agreed()
        assert server.known(web).ending, "it is withdrawn before its process ends"
        cluster.remove(web)
        await server.agreed()
        job = started(cluster)
        await server.agreed()
        cluster.end(job)
        await server.agreed()
        kinds = [type(one) for one in server.events if isinstance(one, Started | Stopped)]
        assert kinds == [Started, Stopped, Started, Stopped]
        assert server.status.drift == 0
        assert server.status.runtime_version == "v1.36.3"


async def test_pods_that_run_at_the_start_are_listed(tmp_path: Path) -> None:
    async with followed_kubernetes(tmp_path, settled=False) as server:
        pods = [started(server.cluster) for _ in range(8)]
        await eventually(lambda: len(server.registry.visible) == len(pods), server.disagreement)
        await server.agreed()
        assert "list" not in server.fake.requests, "the server has lists that begin a watch"


async def test_a_server_without_streamed_lists_is_asked_for_pages(tmp_path: Path) -> None:
    async with followed_kubernetes(tmp_path, settled=False) as server:
        server.faults.streams_lists = False
        server.faults.expires_pages = 1
        for _ in range(8):
            started(server.cluster)
        await is_synced(server)
        await server.agreed()
        assert server.fake.requests.count("list") >= 5


async def test_pods_of_a_list_that_was_not_complete_do_not_count(tmp_path: Path) -> None:
    async with followed_kubernetes(tmp_path, settled=False) as server:
        server.faults.streams_lists = False
        pods = [started(server.cluster) for _ in range(8)]

        def removing(body: bytes) -> bytes:
            server.cluster.remove(pods[0])
            return body

        services, slices = [lambda body: body] * 2  # they are listed first
        server.faults.bodies["list"] = deque([services, slices, removing])
        await is_synced(server)
        await server.agreed()
        assert len(server.registry.visible) == 7


async def test_changes_within_a_list_are_part_of_it(tmp_path: Path) -> None:
    async with followed_kubernetes(tmp_path, settled=False) as server:
        cluster, faults = server.cluster, server.faults
        first, second = started(cluster), started(cluster)

        def change() -> None:
            cluster.remove(first)
            cluster.annotate(second, "New")

        faults.in_streams.extend([lambda: None, lambda: None, change])
        await is_synced(server)
        await server.agreed()
        assert server.known(second).metadata.name == "New"


async def test_only_the_pods_of_this_node_are_published(tmp_path: Path) -> None:
    async with followed_kubernetes(tmp_path) as server:
        started(server.cluster, node="n2")
        here = started(server.cluster)
        await eventually(lambda: bool(server.registry.visible), lambda: str(server.status))
        assert [key.id for key in server.registry.visible] == [here]


async def test_the_pods_of_all_nodes_are_published_on_request(tmp_path: Path) -> None:
    async with followed_kubernetes(tmp_path, node="all") as server:
        started(server.cluster, node="n2")
        started(server.cluster)
        await eventually(lambda: len(server.registry.visible) == 2, lambda: str(server.status))
        await server.agreed()


async def test_only_the_named_namespaces_are_followed(tmp_path: Path) -> None:
    async with followed_kubernetes(tmp_path, namespaces=("shop", "b")) as server:
        for namespace in ("shop", "b", "c"):
            started(server.cluster, namespace=namespace)
        await eventually(lambda: len(server.registry.visible) == 2, lambda: str(server.status))
        await server.agreed()
        await server.settle()


async def test_replicas_keep_the_lowest_free_number(tmp_path: Path) -> None:
    async with followed_kubernetes(tmp_path) as server:
        first, second = (started(server.cluster, owner="rs-1") for _ in range(2))
        alone = started(server.cluster)
        await server.agreed()
        assert [server.known(one).replica for one in (first, second, alone)] == [1, 2, 0]
        server.cluster.remove(first)
        third = started(server.cluster, owner="rs-1")
        await server.agreed()
        assert [server.known(one).replica for one in (second, third)] == [2, 1]


async def test_a_service_adds_ports_and_metadata_to_its_pods(tmp_path: Path) -> None:
    async with followed_kubernetes(tmp_path) as server:
        cluster = server.cluster
        web, other = started(cluster), started(cluster)
        cluster.serve("shop", [web], node_port=30080, externalIPs=["192.0.2.9"])
        await eventually(
            lambda: (
                Key(NAME, web) in server.registry.visible
                and server.known(web).metadata.name == "Shop"
            ),
            server.disagreement,
        )
        ports = {(one.host_ip, one.host_port) for one in server.known(web).ports}
        assert ports == {("", 30080), ("192.0.2.9", 80)}, "the container port is one of these"
        assert server.known(other).metadata.name is None
        cluster.annotate(web, "Own")
        cluster.serve("shop", [web, other], node_port=30081)
        await server.agreed()
        assert server.known(web).metadata.name == "Own"
        cluster.withdraw("shop")
        await server.agreed()
        assert [one.host_port for one in server.known(web).ports] == [0]
        assert server.status.drift == 0


async def test_pods_are_followed_without_the_permission_to_list_services(tmp_path: Path) -> None:
    async with followed_kubernetes(tmp_path, settled=False) as server:
        server.fake.forbidden = {"services", "endpointslices"}
        started(server.cluster)
        await is_synced(server)
        await server.agreed()


async def test_replicas_of_a_service_are_one_announcement(tmp_path: Path) -> None:
    async with followed_kubernetes(tmp_path) as server:
        pods = [started(server.cluster, owner="rs-1") for _ in range(3)]
        server.cluster.serve("shop", pods, node_port=30080)
        await server.agreed()
        rules = MdnsRules(Policy(host_names=frozenset()))
        contenders = [
            Contender(one.key, request)
            for one in map(server.known, pods)
            for request in rules.requests(one).requests
            if isinstance(request, ServiceRequest)
        ]
        assert len(contenders) == 3
        names = [award.name for award in rules.award(contenders)]
        assert names == ["Shop", "", ""]
