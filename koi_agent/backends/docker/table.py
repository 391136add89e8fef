"""The containers of one engine that run, and what is published of them."""

from collections.abc import Iterable
from dataclasses import replace

from koi_agent.backends.docker.containers import HOST, JOINED, Container
from koi_agent.backends.docker.images import without_metadata
from koi_agent.backends.docker.instances import instance_of
from koi_agent.backends.docker.listeners import HostPorts
from koi_agent.core.contracts import Deliver
from koi_agent.core.events import Gone, Seen
from koi_agent.core.instance import Instance


class ContainerTable:
    """Containers by id; ``deliver`` gets each change as an instance of ``backend``.

    ``containers`` outlives a connection: after the next one it shows which containers were
    restarted meanwhile. Without ``image_labels`` a container has metadata once it is inspected.
    """

    def __init__(
        self,
        backend: str,
        containers: dict[str, Container],
        deliver: Deliver,
        ports: HostPorts,
        *,
        image_labels: bool,
    ) -> None:
        self.containers = containers
        self._backend = backend
        self._deliver = deliver
        self._ports = ports
        self._image_labels = image_labels
        # Ids of the containers that share a container's network, by that container's id.
        self._joiners: dict[str, set[str]] = {}
        for container in containers.values():
            self._add_joiner(container)
            self._follow_ports(container, None)

    def publish(self, container: Container) -> None:
        """Store a container and deliver it, and those that share its network."""
        self.store(container)
        self.republish(container.id)
        self._republish_joiners(container.id)

    def republish(self, id_: str) -> None:
        """Deliver a container again, as its ports or the network that it joined have changed."""
        if container := self.containers.get(id_):
            self._deliver(Seen(self._instance(container)))

    def store(self, container: Container) -> None:
        """Store a container, new or changed, without delivering it."""
        if container.inspected is None and not self._image_labels:
            container = replace(container, labels=without_metadata(container.labels))
        before = self.containers.get(container.id)
        self.containers[container.id] = container
        if before is None or before.network != container.network:
            self._add_joiner(container)
        self._follow_ports(container, before)

    def remove(self, id_: str, reason: str) -> None:
        """Remove a container, and deliver that it is gone."""
        if self.discard(id_):
            self._deliver(Gone(backend=self._backend, id=id_, reason=reason))
            self._republish_joiners(id_)

    def discard(self, id_: str) -> bool:
        """Remove a container without delivering that; return False if it is not known."""
        container = self.containers.pop(id_, None)
        self._ports.forget(id_)
        if container and (target := _joined_id(container)):
            joiners = self._joiners.get(target, set())
            joiners.discard(id_)
            if not joiners:
                self._joiners.pop(target, None)
        return container is not None

    def instances(self, ids: Iterable[str]) -> list[Instance]:
        """Return the instances of the given containers that are known."""
        return [self._instance(self.containers[id_]) for id_ in ids if id_ in self.containers]

    def _instance(self, container: Container) -> Instance:
        joined = self.containers.get(_joined_id(container))
        host_ports = self._ports.ports_of(container.id)
        return instance_of(container, self._backend, host_ports=host_ports, joined=joined)

    def _follow_ports(self, container: Container, before: Container | None) -> None:
        """Scan for the listeners of a container on the host's network, again after a restart."""
        group = _host_group(container)
        if group and (before is None or before.inspected != container.inspected):
            self._ports.follow(container.id, group, container.labels.metadata)

    def _add_joiner(self, container: Container) -> None:
        if target := _joined_id(container):
            self._joiners.setdefault(target, set()).add(container.id)

    def _republish_joiners(self, id_: str) -> None:
        """Deliver those in a container's network: they have its addresses and ports."""
        for joiner in sorted(self._joiners.get(id_, ())):
            self.republish(joiner)


def _joined_id(container: Container) -> str:
    """Return the id of the container whose network this one shares, or ""."""
    joins = container.network.startswith(JOINED)
    return container.network.removeprefix(JOINED) if joins else ""


def _host_group(container: Container) -> str:
    """Return the control group whose listeners are a container's ports, or ""."""
    inspected = container.inspected
    return inspected.control_group if inspected and container.network == HOST else ""
