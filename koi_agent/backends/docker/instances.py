"""The instance that a container becomes."""

from collections.abc import Iterator
from typing import Final

from koi_agent.backends.docker.containers import Container, Inspected
from koi_agent.backends.docker.networks import Network
from koi_agent.backends.docker.ports import ports_in_metadata, unpublished
from koi_agent.core.instance import Instance, PortMapping
from koi_agent.core.ports import declared

_UNSUPPORTED: Final = "port {} is ignored: it is neither TCP nor UDP"
_NO_OWNER: Final = "the container whose network it has joined does not run"
_LOST: Final = "it is in the network that {} had before a restart: restart this container too"
_NO_GROUP: Final = "its control group was not found: the ports that it listens on are not known"


def instance_of(
    container: Container,
    backend: str,
    *,
    network: Network | None = None,
    host_ports: tuple[PortMapping, ...] = (),
) -> Instance:
    """Return the instance of a container; ``backend`` is the name of the backend that follows it.

    ``network`` is where the container is, its own by default. ``host_ports`` are what a container
    on the host's network listens on.
    """
    network = network or Network(container)
    labels, inspected = container.labels, container.inspected or Inspected()
    return Instance(
        id=container.id,
        name=labels.service or container.name,
        backend=backend,
        state=container.state,
        state_detail=container.status,
        image=container.image,
        ports=_ports(container, network, host_ports),
        ips=() if network.is_lost else (network.owner or container).ips,
        metadata=labels.metadata,
        health=container.health,
        health_detail=container.health_detail,
        unit=labels.unit,
        control_group=inspected.control_group,
        main_pid=inspected.main_pid,
        created_at=container.created_at,
        project=labels.project,
        replica=labels.replica,
        one_off=labels.one_off,
        notes=(*labels.notes, *_notes(container, network)),
    )


def _notes(container: Container, network: Network) -> Iterator[str]:
    yield from map(_UNSUPPORTED.format, container.unsupported_ports)
    inspected = container.inspected or Inspected()
    if network.is_host and inspected.main_pid and not inspected.control_group:
        yield _NO_GROUP
    if network.owner is None and not container.ports:
        yield _NO_OWNER
    if network.owner and network.is_lost:
        yield _LOST.format(network.owner.name)


def _ports(
    container: Container, network: Network, host_ports: tuple[PortMapping, ...]
) -> tuple[PortMapping, ...]:
    """Return all ports, sorted."""
    metadata = container.labels.metadata
    if network.is_host:
        # An exposed port may be another process's: only listeners and metadata count.
        seen = {(port.container_port, port.protocol) for port in host_ports}
        return tuple(sorted([*host_ports, *declared(metadata, seen)]))
    published = _published(container, network)
    others = [*unpublished(published, container.exposed, metadata)]
    # The container's own tuple, which is sorted, is not copied for each instance.
    return tuple(sorted([*published, *others])) if others else published


def _ingress(container: Container) -> tuple[PortMapping, ...]:
    return container.inspected.ingress if container.inspected else ()


def _published(container: Container, network: Network) -> tuple[PortMapping, ...]:
    """Return the sorted ports that a container serves, by itself or for the network's owner.

    Image and metadata name the ports of a container. Without them, any port may be its own.
    """
    if network.is_lost:
        return ()
    if network.owner is None or network.owner.id == container.id:
        # Podman's inspection has the ports that the owner publishes.
        ingress = _ingress(container)
        return tuple(sorted([*container.ports, *ingress])) if ingress else container.ports
    own = container.exposed | ports_in_metadata(container.labels.metadata)
    ports = network.owner.ports
    return tuple(p for p in ports if not own or (p.container_port, p.protocol) in own)
