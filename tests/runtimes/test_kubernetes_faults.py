"""A fake cluster that misbehaves, and what is published of it."""

import asyncio
from collections import deque
from pathlib import Path

import pytest

from koi_agent.backends.kubernetes.tunables import Tunables
from koi_agent.capabilities.mdns.requests import ServiceRequest
from koi_agent.capabilities.mdns.rules import MdnsRules
from koi_agent.core.events import BackendState, Started, Stopped
from koi_agent.core.instance import InstanceState
from koi_agent.core.key import Key
from koi_agent.core.plan.requests import Contender, Policy
from tests.runtimes.fake_cluster import FakeCluster
from tests.runtimes.followed import eventually
from tests.runtimes.followed_kubernetes import (
    NAME,
    FollowedKubernetes,
    followed_kubernetes,
    write_kubeconfig,
)


def started(cluster: FakeCluster, **options: str) -> str:
    uid = cluster.create(**options)
    cluster.run(uid)
    return uid


def state(server: FollowedKubernetes) -> BackendState:
    return server.status.state


async def is_synced(server: FollowedKubernetes) -> None:
    await eventually(lambda: state(server) is BackendState.SYNCED, lambda: str(server.status))


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


@pytest.mark.parametrize("way", ["end", "cut"])
async def test_a_watch_that_ends_is_resumed_without_a_gap(tmp_path: Path, way: str) -> None:
    async with followed_kubernetes(tmp_path) as server:
        await server.agreed()
        for _ in range(3):
            getattr(server.fake, way)()
            started(server.cluster)
            await server.agreed()
        assert len(server.registry.visible) == 3
        assert server.status.drift == 0


async def test_history_that_the_server_has_dropped_leads_to_a_list(tmp_path: Path) -> None:
    async with followed_kubernetes(tmp_path) as server:
        server.faults.silent.add("watch")
        gone = started(server.cluster)
        server.cluster.remove(gone)
        started(server.cluster)
        server.cluster.compact()
        server.faults.silent.clear()
        await eventually(lambda: bool(server.registry.visible), lambda: str(server.status))
        await server.agreed()
        assert server.fake.requests.count("stream") >= 2
        assert server.status.reconnects == 0


async def test_a_silent_watch_is_noticed(tmp_path: Path) -> None:
    async with followed_kubernetes(tmp_path) as server:
        server.faults.silent.add("watch")
        started(server.cluster)
        await asyncio.sleep(0.1)
        server.faults.silent.clear()
        await server.agreed()
        assert server.registry.visible


async def test_watches_that_end_at_once_are_a_loss(tmp_path: Path) -> None:
    async with followed_kubernetes(tmp_path) as server:
        web = started(server.cluster)
        await server.agreed()
        server.faults.ends_watches = True
        server.fake.end()
        await eventually(
            lambda: "a watch ended at once" in server.status.last_error,
            lambda: str(server.status),
        )
        server.faults.ends_watches = False
        server.cluster.annotate(web, "New")
        await is_synced(server)
        await server.agreed()


async def test_a_busy_server_is_asked_again_when_it_says(tmp_path: Path) -> None:
    async with followed_kubernetes(tmp_path, settled=False) as server:
        for endpoint in ("version", "stream", "watch"):
            server.faults.answers[endpoint] = deque([(429, {"Retry-After": "0"}), (503, {})])
        started(server.cluster)
        await server.follower.settled.wait()
        await is_synced(server)
        await server.agreed()
        assert server.fake.requests.count("version") == 3
        assert server.status.reconnects == 0


async def test_credentials_are_read_again_when_they_are_refused(tmp_path: Path) -> None:
    async with followed_kubernetes(tmp_path) as server:
        web = started(server.cluster)
        await server.agreed()
        server.fake.tokens = {"another"}
        server.fake.end()
        await eventually(lambda: state(server) is BackendState.STALE, lambda: str(server.status))
        assert "are not accepted" in server.status.last_error
        assert "another" not in server.status.last_error
        assert server.known(web).stale
        write_kubeconfig(tmp_path, server.fake.port, token="another")
        await is_synced(server)
        await server.agreed()


async def test_a_server_that_is_away_keeps_its_instances_as_stale(tmp_path: Path) -> None:
    async with followed_kubernetes(tmp_path) as server:
        web, gone = started(server.cluster), started(server.cluster)
        await server.agreed()
        await server.fake.close()
        await eventually(lambda: state(server) is BackendState.STALE, lambda: str(server.status))
        assert server.known(web).stale
        server.cluster.remove(gone)
        await server.fake.open()
        await is_synced(server)
        await server.agreed()
        assert not server.known(web).stale


@pytest.mark.parametrize("version", [10, 5000])
async def test_another_cluster_stops_all_instances_of_the_one_before(
    tmp_path: Path, version: int
) -> None:
    async with followed_kubernetes(tmp_path, interval=0.5) as server:
        started(server.cluster)
        await server.agreed()
        server.cluster.replace(version)
        new = started(server.cluster)
        await eventually(
            lambda: [key.id for key in server.registry.visible] == [new], server.disagreement
        )
        assert server.status.reconnects == 1
        assert server.status.drift == 0


async def test_a_cluster_that_goes_back_is_listed_again(tmp_path: Path) -> None:
    async with followed_kubernetes(tmp_path, interval=0.5) as server:
        cluster = server.cluster
        web, later = started(cluster), started(cluster)
        await server.agreed()
        del cluster.pods[later]  # as etcd does when it is restored from a copy
        cluster.history.clear()
        cluster.version -= 2
        await eventually(
            lambda: [key.id for key in server.registry.visible] == [web], server.disagreement
        )
        assert server.status.reconnects == 1
        assert server.status.drift == 0


async def test_a_node_that_the_cluster_does_not_have_is_an_error(tmp_path: Path) -> None:
    async with followed_kubernetes(tmp_path, node="n9") as server:
        await server.follower.settled.wait()
        assert state(server) is BackendState.FAILED
        assert "no node is called n9; set Node=" in server.status.last_error


async def test_permission_to_read_nodes_and_namespaces_is_not_needed(tmp_path: Path) -> None:
    async with followed_kubernetes(tmp_path, settled=False) as server:
        server.faults.answers["node"] = deque([(403, {})])
        server.faults.answers["identity"] = deque([(403, {})])
        started(server.cluster)
        await is_synced(server)
        await server.agreed()


async def test_a_bad_record_costs_that_record(tmp_path: Path) -> None:
    async with followed_kubernetes(tmp_path) as server:
        web = started(server.cluster)
        await server.agreed()
        server.faults.lines.append(lambda _line: [b'{"type":"ADDED","object":{"metadata":{}}}'])
        server.cluster.annotate(web, "Lost")
        await server.agreed()
        server.faults.lines.append(lambda line: [line[: len(line) // 2]])
        server.cluster.annotate(web, "Half")
        other = started(server.cluster)
        await server.agreed()
        assert server.known(web).metadata.name == "Half"
        assert server.known(other).state is InstanceState.RUNNING
        assert server.status.reconnects == 0


async def test_a_periodic_list_finds_no_drift_in_a_busy_cluster(tmp_path: Path) -> None:
    async with followed_kubernetes(tmp_path, interval=0.05) as server:
        pods = [started(server.cluster) for _ in range(5)]
        for number in range(60):
            server.cluster.annotate(pods[number % 5], f"N{number}")
            await asyncio.sleep(0.01)
        await server.agreed()
        assert server.status.drift == 0


async def test_an_unreachable_server_is_named_with_the_reason(tmp_path: Path) -> None:
    async with followed_kubernetes(tmp_path, tunables=Tunables(response=0.3)) as server:
        await server.fake.close()
        await eventually(lambda: state(server) is not BackendState.SYNCED, lambda: "")
        await eventually(
            lambda: f"https://127.0.0.1:{server.fake.port}" in server.status.last_error,
            lambda: str(server.status),
        )
