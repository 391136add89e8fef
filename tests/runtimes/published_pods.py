"""The published pods of a cluster beside those that run: backend, follower and registry."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from typing import Any

from koi_agent.backends.kubernetes import Kubernetes
from koi_agent.backends.kubernetes.credentials import Credentials
from koi_agent.backends.kubernetes.scope import Scope
from koi_agent.backends.kubernetes.tunables import Tunables
from koi_agent.config.kubernetes import KubernetesConfig
from koi_agent.core.errors import BackendLost
from koi_agent.core.events import BackendState, BackendStatus, Change, Event
from koi_agent.core.instance import Instance, PortSource
from koi_agent.core.key import Key
from koi_agent.core.registry import Registry
from koi_agent.follow.follower import Follower
from koi_agent.host.listeners import ListenerTable
from tests.runtimes.followed import PATIENCE
from tests.unit.things import Reader

NAME = "kubernetes"
Objects = Mapping[str, Mapping[str, Any]]
"""Pods, Services and EndpointSlices: records by kind and UID."""


class PublishedPods:
    """The pods of a scope that are published, and the ``objects`` of the cluster.

    ``pause`` is the seconds between two comparisons.
    """

    def __init__(
        self,
        credentials: Credentials,
        objects: Callable[[], Objects],
        scope: Scope,
        tunables: Tunables,
        *,
        interval: float = 1e6,
        pause: float = 0.005,
    ) -> None:
        self.registry = Registry({NAME: NAME})
        self.reader = Reader()
        self.events: list[Event] = []
        self._objects = objects
        self._scope = scope
        self._pause = pause
        settings = KubernetesConfig(
            kubeconfig=credentials.kubeconfig,
            context=scope.context,
            namespaces=scope.namespaces,
            node=scope.node,
        )
        backend = Kubernetes(NAME, settings, credentials, scope.host, ListenerTable(), tunables)
        self.follower = Follower(backend, self._apply, self.registry.differences, interval=interval)

    def _apply(self, change: Change) -> None:
        events = self.registry.apply(change, time.time_ns() // 1000)
        self.reader.read(events)
        self.events += events

    @property
    def status(self) -> BackendStatus:
        return self.registry.backends[NAME]

    @property
    def state(self) -> BackendState:
        return self.status.state

    def known(self, uid: str) -> Instance:
        return self.registry.visible[Key(NAME, uid)]

    def disagreement(self) -> str:
        """Return the differences between what is published and what runs, or ""."""
        published = {one.id: summary(one) for one in self.registry.visible.values()}
        objects = self._objects()
        real = {
            uid: expected(objects, one, self._scope.host)
            for uid, one in objects["pods"].items()
            if one["status"].get("phase") == "Running" and self._is_in_scope(one)
        }
        return "\n".join(
            f"{uid}: published {published.get(uid)}, real {real.get(uid)}"
            for uid in sorted(published.keys() | real.keys())
            if published.get(uid) != real.get(uid)
        )

    def _is_in_scope(self, pod: Mapping[str, Any]) -> bool:
        scope = self._scope
        is_followed = scope.watched_node in ("", pod["spec"]["nodeName"])
        return is_followed and pod["metadata"]["namespace"] in (
            scope.namespaces or (pod["metadata"]["namespace"],)
        )

    async def agreed(self) -> None:
        """Wait until what is published is what runs, without a list."""
        deadline = time.monotonic() + PATIENCE
        while text := self.disagreement():
            assert time.monotonic() < deadline, f"{text}\n{self.status}"
            await asyncio.sleep(self._pause)

    async def settle(self) -> None:
        """List once more, and wait until what is published is what runs."""
        deadline = time.monotonic() + PATIENCE
        while True:
            with suppress(BackendLost):
                await self.follower.resync()
                break
            assert time.monotonic() < deadline, f"the server is not followed: {self.status}"
            await asyncio.sleep(0.02)
        await self.agreed()


def summary(instance: Instance) -> Any:
    return (
        str(instance.state),
        instance.name,
        instance.project,
        instance.metadata.name,
        {one.host_port for one in instance.ports if one.source is not PortSource.CLUSTER} - {0},
        instance.ips,
        instance.ending,
    )


def expected(objects: Objects, pod: Mapping[str, Any], host: str) -> Any:
    """Return what ``summary`` has to be for a pod that runs."""
    metadata, container = pod["metadata"], pod["status"]["containerStatuses"][0]
    services = serving(objects, metadata["uid"], states=(True, False))
    ready = serving(objects, metadata["uid"], states=(True,))
    own = metadata.get("annotations", {}).get("koi.sylin.org/name")
    given = [one["metadata"].get("annotations", {}).get("koi.sylin.org/name") for one in services]
    is_local = pod["spec"]["nodeName"] == host
    return (
        "running" if "running" in container["state"] else "restarting",
        metadata["name"],
        metadata["namespace"],
        next(filter(None, [own, *given]), None),
        {port for one in ready for port in open_ports(one)} if is_local else set(),
        tuple(one["ip"] for one in pod["status"]["podIPs"]),
        "deletionTimestamp" in metadata,
    )


def serving(objects: Objects, uid: str, *, states: tuple[bool, ...]) -> list[Mapping[str, Any]]:
    """Return the Services that have a pod in one of some states of readiness, by their names."""
    keys = {
        (one["metadata"]["namespace"], one["metadata"]["labels"]["kubernetes.io/service-name"])
        for one in objects["endpointslices"].values()
        for endpoint in one["endpoints"] or ()
        if endpoint["targetRef"]["uid"] == uid and endpoint["conditions"]["ready"] in states
    }
    services = {
        (one["metadata"]["namespace"], one["metadata"]["name"]): one
        for one in objects["services"].values()
    }
    return [services[key] for key in sorted(keys & services.keys())]


def open_ports(service: Mapping[str, Any]) -> set[int]:
    """Return the ports of nodes and of external addresses that lead to a Service."""
    spec = service["spec"]
    balancer = service.get("status", {}).get("loadBalancer", {})
    is_external = spec.get("externalIPs") or balancer.get("ingress")
    found = {one.get("nodePort", 0) for one in spec["ports"]}
    return (found | {one["port"] for one in spec["ports"]} if is_external else found) - {0}


@asynccontextmanager
async def following(followed: PublishedPods, *, settled: bool = True) -> AsyncIterator[None]:
    """Run the follower of a cluster; ``settled`` waits for its first list."""
    task = asyncio.create_task(followed.follower.run())  # noqa: TID251 - ended below
    try:
        if settled:
            async with asyncio.timeout(60):
                await followed.follower.settled.wait()
        yield
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
