"""A fake cluster that misbehaves, and what is published of it."""

import asyncio
from collections import deque
from pathlib import Path

import pytest

from koi_agent.backends.kubernetes.api import MAX_BODY, MAX_LINE
from koi_agent.backends.kubernetes.collection import TRIES
from koi_agent.backends.kubernetes.tunables import Tunables
from koi_agent.core.events import BackendState
from koi_agent.core.instance import InstanceState
from tests.runtimes.followed import eventually
from tests.runtimes.followed_kubernetes import (
    followed_kubernetes,
    is_synced,
    started,
    state,
    write_kubeconfig,
)


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


async def test_a_proxy_that_cuts_quiet_watches_is_no_loss(tmp_path: Path) -> None:
    tunables = Tunables(watch=20, settled=0.2, list_delay=0.01)
    async with followed_kubernetes(tmp_path, tunables=tunables) as server:
        requests = server.fake.requests
        for _ in range(2 * TRIES):
            opened = requests.count("watch")
            await asyncio.sleep(0.3)
            server.fake.cut()
            await eventually(lambda: requests.count("watch") >= opened + 3, lambda: str(requests))  # noqa: B023 - called here
        started(server.cluster)
        await server.agreed()
        assert server.status.reconnects == 0


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


async def test_a_watch_waits_for_a_busy_server_without_a_list(tmp_path: Path) -> None:
    tunables = Tunables(watch=1, retry_after=0.01, longest_retry=0.05, tries=2)
    async with followed_kubernetes(tmp_path, tunables=tunables) as server:
        await server.agreed()
        lists = server.fake.requests.count("stream")
        answers = server.faults.answers["watch"] = deque([(429, {"Retry-After": "9"})] * 8)
        await eventually(lambda: not answers, lambda: str(answers))
        started(server.cluster)
        await server.agreed()
        assert server.fake.requests.count("stream") == lists
        assert server.status.reconnects == 0


async def test_a_list_that_does_not_stream_in_time_is_read_in_pages(tmp_path: Path) -> None:
    tunables = Tunables(watch=1, streaming=0.3)
    async with followed_kubernetes(tmp_path, settled=False, tunables=tunables) as server:
        server.faults.silent.add("stream")
        started(server.cluster)
        await is_synced(server)
        await server.agreed()
        assert server.fake.requests.count("stream") == 1, "the other collections try none"
        assert server.status.reconnects == 0


async def test_a_streamed_list_that_is_not_completed_is_read_in_pages(tmp_path: Path) -> None:
    async with followed_kubernetes(tmp_path) as server:
        started(server.cluster)
        await server.agreed()
        server.faults.ends_streams = 1
        await server.follower.resync()
        requests = server.fake.requests
        assert requests.count("list") == 1, "the other collections are streamed"
        await server.follower.resync()
        assert requests.count("list") == 1, "so is the next list"
        await server.agreed()
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


async def test_permission_to_read_the_identity_may_be_taken_away(tmp_path: Path) -> None:
    async with followed_kubernetes(tmp_path) as server:
        server.faults.answers["identity"] = deque([(403, {})])
        started(server.cluster)
        await server.follower.resync()
        await server.agreed()
        assert server.status.reconnects == 0


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


async def test_a_record_that_is_too_long_costs_that_record(tmp_path: Path) -> None:
    patient = Tunables(watch=20, list_delay=0.01, page=3, retry_after=0.05)
    async with followed_kubernetes(tmp_path, tunables=patient) as server:
        web, gone = started(server.cluster), started(server.cluster)
        await server.agreed()
        server.cluster.change(web, lambda one: one["metadata"].update(other="x" * (MAX_LINE // 2)))
        await server.agreed()
        server.cluster.change(web, lambda one: one["metadata"].update(other="x" * MAX_LINE))
        server.cluster.remove(gone)
        started(server.cluster)
        await server.follower.resync()
        await server.agreed()
        assert server.known(web).state is InstanceState.RUNNING
        assert server.status.reconnects == 0


async def test_a_page_that_is_too_long_is_asked_for_in_parts(tmp_path: Path) -> None:
    async with followed_kubernetes(tmp_path, settled=False) as server:
        server.faults.streams_lists = False
        for _ in range(3):
            started(server.cluster)
        await is_synced(server)
        server.faults.bodies["list"] = deque([lambda body: body + b" " * MAX_BODY])
        await server.follower.resync()
        await server.agreed()
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
