"""A real cluster, and what the agent publishes of it. No secret may leave the agent."""

import logging
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, asynccontextmanager, contextmanager
from typing import Final

from koi_agent.backends.kubernetes.credentials import Credentials
from koi_agent.backends.kubernetes.scope import Scope
from koi_agent.backends.kubernetes.tunables import Tunables
from tests.kubernetes.cluster import Cluster
from tests.kubernetes.kubelet import Kubelet, kubelet
from tests.runtimes.published_pods import NAME, PublishedPods, following

QUICK: Final = Tunables(watch=5, watch_grace=3, list_delay=0.05)
COMPARED: Final = 0.2
"""Seconds between two comparisons: each of them lists the whole cluster."""
FORMAT: Final = logging.Formatter("%(name)s %(message)s")


class Shop:
    """A namespace of a cluster, with a node that no other test uses."""

    def __init__(self, cluster: Cluster, name: str, kubelet: Kubelet) -> None:
        self.cluster = cluster
        self.calls = cluster.calls
        self.name = name
        self.node = name
        self.kubelet = kubelet

    def scope(self, node: str = "") -> Scope:
        """Return the scope of an agent on the node of the shop, which follows the shop only."""
        return Scope(backend=NAME, host=self.node, namespaces=(self.name,), node=node)

    def pods(self) -> dict[str, str]:
        """Return the UIDs of the pods by their names."""
        items = self.calls.get("pods", self.name)["items"]
        return {one["metadata"]["name"]: one["metadata"]["uid"] for one in items}


@contextmanager
def opened_shop(cluster: Cluster, name: str) -> Iterator[Shop]:
    """Add a namespace and a node of this name, whose kubelet runs while the block runs."""
    cluster.calls.create("namespaces", {"metadata": {"name": name}})
    with kubelet(cluster, name) as one:
        yield Shop(cluster, name, one)


class Log(logging.Handler):
    """Keeps the text of all that is logged."""

    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self.setFormatter(FORMAT)
        self.lines: list[str] = []

    @property
    def text(self) -> str:
        return "\n".join(self.lines)

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(self.format(record))


@contextmanager
def logged() -> Iterator[Log]:
    """Keep what all loggers log."""
    log, root = Log(), logging.getLogger()
    before = root.level
    root.addHandler(log)
    root.setLevel(logging.DEBUG)
    try:
        yield log
    finally:
        root.removeHandler(log)
        root.setLevel(before)


class FollowedCluster(PublishedPods):
    """The published pods of a real cluster, and all that was logged."""

    log: Log


@asynccontextmanager
async def followed_cluster(
    cluster: Cluster,
    scope: Scope,
    credentials: Credentials | None = None,
    *,
    settled: bool = True,
    tunables: Tunables = QUICK,
    interval: float = 1e6,
) -> AsyncIterator[FollowedCluster]:
    """Follow a real cluster for as long as the block lasts, as its administrator by default."""
    used = credentials or cluster.admitted()
    with ExitStack() as stack:
        log = stack.enter_context(logged())
        followed = FollowedCluster(
            used, cluster.objects, scope, tunables, interval=interval, pause=COMPARED
        )
        followed.log = log
        async with following(followed, settled=settled):
            yield followed
        output = f"{log.text}\n{followed.events}\n{followed.status}"
        assert not [one for one in cluster.secrets if one in output], "a token in the output"
