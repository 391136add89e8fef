"""A fake cluster with everything that follows it: the backend, the follower and the registry."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from koi_agent.backends.kubernetes.credentials import Credentials
from koi_agent.backends.kubernetes.scope import Scope
from koi_agent.backends.kubernetes.tunables import Tunables
from koi_agent.core.events import BackendState
from tests.runtimes.fake_cluster import NODE, FakeCluster
from tests.runtimes.fake_kubernetes import TOKEN, FakeKubernetes
from tests.runtimes.followed import eventually
from tests.runtimes.published_pods import NAME, PublishedPods, following
from tests.unit.certificates import authority

__all__ = ["NAME", "following"]
QUICK = Tunables(watch=1, watch_grace=0.5, list_delay=0.01, page=3, retry_after=0.05)


class FollowedKubernetes(PublishedPods):
    """A fake cluster, and what is published of it by the backend."""

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
        credentials = Credentials(kubeconfig=str(kubeconfig))
        scope = Scope(backend=NAME, host=NODE, node=node, namespaces=namespaces)
        super().__init__(
            credentials, lambda: fake.cluster.objects, scope, tunables, interval=interval
        )


def started(cluster: FakeCluster, **options: str) -> str:
    uid = cluster.create(**options)
    cluster.run(uid)
    return uid


def state(server: FollowedKubernetes) -> BackendState:
    return server.state


async def is_synced(server: PublishedPods) -> None:
    await eventually(lambda: server.state is BackendState.SYNCED, lambda: str(server.status))


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
