"""The containers of one engine that run, and what is published of them."""

from collections.abc import Iterable

from koi_agent.backends.docker.containers import Container, Inspected, copied
from koi_agent.backends.docker.images import without_metadata
from koi_agent.backends.docker.instances import instance_of
from koi_agent.backends.docker.networks import Networks
from koi_agent.core.contracts import Deliver
from koi_agent.core.events import Gone, Seen
from koi_agent.core.instance import Instance
from koi_agent.host.owner_ports import HostPorts


class ContainerTable:
    """Containers by id; ``deliver`` gets each change as an instance of ``backend``.

    ``containers`` outlives a connection: after the next one it shows which containers were
    restarted in the meantime. Without ``image_labels`` a container has metadata once it is
    inspected.
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
        self._networks = Networks(containers)
        self._scanned: dict[str, Inspected] = {}
        self._delivered: set[str] | None = None  # while a list is requested
        for container in containers.values():
            self._follow_ports(container)

    def publish(self, container: Container) -> None:
        """Store a container and deliver it, and those that share its network."""
        self.store(container)
        self.republish(container.id)
        self._republish_joiners(container.id)

    def republish(self, id_: str) -> None:
        """Deliver a container again, as its ports or the network that it joined have changed."""
        if container := self.containers.get(id_):
            self._note(id_)
            self._deliver(Seen(self._instance(container)))

    def _note(self, id_: str) -> None:
        if self._delivered is not None:
            self._delivered.add(id_)

    def store(self, container: Container) -> None:
        """Store a container, new or changed, without delivering it."""
        if container.inspected is None and not self._image_labels:
            container = copied(container, labels=without_metadata(container.labels))
        before = self.containers.get(container.id)
        if before:
            container = copied.sharing(container, before)
        self.containers[container.id] = container
        if before and before.network != container.network:
            self._networks.drop(before)
        self._networks.put(container)
        self._follow_ports(container)
        if before is None or before.network != container.network:
            self._follow_ports_of_joiners(container.id)

    def store_listed(self, container: Container) -> None:
        """Store a listed container.

        Deliver it if it was delivered since the request: the list does not count for it then.
        """
        self.store(container)
        if self._delivered is not None and container.id in self._delivered:
            self.republish(container.id)

    def remove(self, id_: str, reason: str) -> None:
        """Remove a container, and deliver that it is gone."""
        if self._discard(id_):
            self._deliver(Gone(backend=self._backend, id=id_, reason=reason))
            self._republish_joiners(id_)

    def begin_list(self) -> None:
        """Record the containers that are delivered: a list that is requested now is older."""
        self._delivered = set()

    def end_list(self) -> None:
        """Stop recording."""
        self._delivered = None

    def remove_unlisted(self, id_: str) -> None:
        """Remove a container that a list does not have.

        The list itself reports that, but not of containers that were delivered since its request.
        """
        if self._delivered is not None and id_ in self._delivered:
            self.remove(id_, "not listed")
        else:
            self._discard(id_)

    def _discard(self, id_: str) -> bool:
        """Remove a container without delivering that; return False if it is not known."""
        container = self.containers.pop(id_, None)
        self._forget_ports(id_)
        if container:
            self._networks.drop(container)
            self._follow_ports_of_joiners(id_)
        return container is not None

    def instances(self, ids: Iterable[str]) -> list[Instance]:
        """Return the instances of the given containers that are known."""
        return [self._instance(self.containers[id_]) for id_ in ids if id_ in self.containers]

    def _instance(self, container: Container) -> Instance:
        return instance_of(
            container,
            self._backend,
            network=self._networks.of(container),
            host_ports=self._ports.ports_of(container.id),
        )

    def _follow_ports(self, container: Container) -> None:
        """Scan for the listeners of a container on the host's network, again after a restart."""
        inspected, before = container.inspected, self._scanned.get(container.id)
        is_host = self._networks.of(container).is_host
        if not is_host or inspected is None or not inspected.control_group:
            self._forget_ports(container.id)
        elif inspected != before:
            self._scanned[container.id] = inspected
            self._ports.follow(container.id, inspected.control_group, container.labels.metadata)

    def _forget_ports(self, id_: str) -> None:
        if self._scanned.pop(id_, None):
            self._ports.forget(id_)

    def _follow_ports_of_joiners(self, id_: str) -> None:
        for joiner in self._networks.joiners(id_):
            if container := self.containers.get(joiner):
                self._follow_ports(container)

    def _republish_joiners(self, id_: str) -> None:
        """Deliver those in a container's network: they have its addresses and ports."""
        for joiner in self._networks.joiners(id_):
            self.republish(joiner)
