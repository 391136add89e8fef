"""A fake cluster with everything that follows it: the backend, the follower and the registry."""

import asyncio
import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

from koi_agent.backends.kubernetes import Kubernetes
from koi_agent.backends.kubernetes.credentials import Credentials
from koi_agent.backends.kubernetes.tunables import Tunables
from koi_agent.config.kubernetes import KubernetesConfig
from koi_agent.core.errors import BackendLost
from koi_agent.core.events import BackendState, BackendStatus, Change, Event
from koi_agent.core.instance import Instance
from koi_agent.core.key import Key
from koi_agent.core.registry import Registry
from koi_agent.follow.follower import Follower
from koi_agent.host.listeners import ListenerTable
from tests.runtimes.fake_cluster import NODE, FakeCluster
from tests.runtimes.fake_kubernetes import TOKEN, FakeKubernetes
from tests.runtimes.followed import PATIENCE, eventually
from tests.unit.certificates import authority
from tests.unit.things import Reader

NAME = "kubernetes"
QUICK = Tunables(watch=1, watch_grace=0.5, list_delay=0.01, page=3, retry_after=0.05)


class FollowedKubernetes:
    """A cluster, and what is published of it by the backend."""

    def __init__(
        self,
        fake: FakeKubernetes,
        kubeconfig: Path,
        *,
        node: str = NODE,
        namespaces: tuple[str, ...] = (),
        tunables: Tunables = QUICK,
        interval: float = 1e6,
    ) -> None:
        self.fake = fake
        self.cluster = fake.cluster
        self.faults = fake.faults
        self.kubeconfig = kubeconfig
        self.node = node
        self.namespaces = namespaces
        self.registry = Registry({NAME: NAME})
        self.reader = Reader()
        self.events: list[Event] = []
        settings = KubernetesConfig(
            kubeconfig=str(kubeconfig), context="", namespaces=namespaces, node=node
        )
        backend = Kubernetes(
            NAME, settings, Credentials(kubeconfig=str(kubeconfig)), NODE, ListenerTable(), tunables
        )
        self.follower = Follower(backend, self._apply, self.registry.differences, interval=interval)

    def _apply(self, change: Change) -> None:
        events = self.registry.apply(change, time.time_ns() // 1000)
        self.reader.read(events)
        self.events += events

    @property
    def status(self) -> BackendStatus:
        return self.registry.backends[NAME]

    def known(self, uid: str) -> Instance:
        return self.registry.visible[Key(NAME, uid)]

    def disagreement(self) -> str:
        """Return the differences between what is published and what runs, or ""."""
        published = {one.id: summary(one) for one in self.registry.visible.values()}
        real = {
            uid: expected(self.cluster, uid)
            for uid, one in self.cluster.running().items()
            if self.node in ("all", one["spec"]["nodeName"])
            and (not self.namespaces or one["metadata"]["namespace"] in self.namespaces)
        }
        return "\n".join(
            f"{uid}: published {published.get(uid)}, real {real.get(uid)}"
            for uid in sorted(published.keys() | real.keys())
            if published.get(uid) != real.get(uid)
        )

    async def agreed(self) -> None:
        """Wait until what is published is what runs, without a list."""
        await eventually(lambda: not self.disagreement(), self.disagreement)

    async def settle(self) -> None:
        """List once more, and wait until what is published is what runs."""
        deadline = time.monotonic() + PATIENCE
        while True:
            with suppress(BackendLost):
                await self.follower.resync()
                break
            assert time.monotonic() < deadline, f"the server is not followed: {self.status}"
            await asyncio.sleep(0.02)
        await eventually(lambda: not self.disagreement(), self.disagreement, PATIENCE)


def summary(instance: Instance) -> Any:
    return (
        str(instance.state),
        instance.name,
        instance.project,
        instance.metadata.name,
        {one.host_port for one in instance.ports if one.host_port},
        instance.ips,
        instance.ending,
    )


def expected(cluster: FakeCluster, uid: str) -> Any:
    pod = cluster.pods[uid]
    metadata, container = pod["metadata"], pod["status"]["containerStatuses"][0]
    is_local = pod["spec"]["nodeName"] == NODE
    return (
        "running" if "running" in container["state"] else "restarting",
        metadata["name"],
        metadata["namespace"],
        next(iter(cluster.names(uid)), None),
        cluster.node_ports(uid) if is_local else set(),
        tuple(one["ip"] for one in pod["status"]["podIPs"]),
        "deletionTimestamp" in metadata,
    )


def started(cluster: FakeCluster, **options: str) -> str:
    uid = cluster.create(**options)
    cluster.run(uid)
    return uid


def state(server: FollowedKubernetes) -> BackendState:
    return server.status.state


async def is_synced(server: FollowedKubernetes) -> None:
    await eventually(lambda: state(server) is BackendState.SYNCED, lambda: str(server.status))


def write_kubeconfig(folder: Path, port: int, *, token: str = TOKEN) -> Path:
    """Write a file that leads to a server, as kubectl does."""
    cluster = {"server": f"https://127.0.0.1:{port}", "certificate-authority": "certificate.pem"}
    config = {
        "current-context": "here",
        "contexts": [{"name": "here", "context": {"cluster": "c", "user": "u"}}],
        "clusters": [{"name": "c", "cluster": cluster}],
        "users": [{"name": "u", "user": {"token": token}}],
    }
    path = folder / "kubeconfig"
    path.write_text(json.dumps(config))
    return path


@asynccontextmanager
async def followed_kubernetes(
    folder: Path, *, settled: bool = True, **options: Any
) -> AsyncIterator[FollowedKubernetes]:
    """Follow a fake cluster for as long as the block lasts."""
    _, server_tls = authority(folder, "127.0.0.1")
    async with FakeKubernetes(server_tls) as fake:
        followed = FollowedKubernetes(fake, write_kubeconfig(folder, fake.port), **options)
        async with following(followed, settled=settled):
            yield followed


@asynccontextmanager
async def following(followed: FollowedKubernetes, *, settled: bool = True) -> AsyncIterator[None]:
    """Run the follower of a cluster; ``settled`` waits for its first list."""
    task = asyncio.create_task(followed.follower.run())  # noqa: TID251 - ended below
    try:
        if settled:
            async with asyncio.timeout(20):
                await followed.follower.settled.wait()
        yield
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
