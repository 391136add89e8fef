"""The instance that a container becomes."""

from collections.abc import Iterator
from typing import Final

from koi_agent.backends.docker.containers import HOST, Container, Inspected
from koi_agent.backends.docker.ports import ports_in_metadata, unpublished
from koi_agent.core.instance import Instance, PortMapping
from koi_agent.core.ports import declared

_UNSUPPORTED: Final = "port {} is ignored: it is neither TCP nor UDP"
_NO_GROUP: Final = "its control group was not found: the ports that it listens on are not known"


def instance_of(
    container: Container,
    backend: str,
    *,
    host_ports: tuple[PortMapping, ...] = (),
    joined: Container | None = None,
) -> Instance:
    """Return the instance of a container; ``backend`` is the name of the backend that follows it.

    ``host_ports`` are what a container on the host's network listens on. ``joined`` is the
    container in whose network this one is.
    """
    labels, inspected = container.labels, container.inspected or Inspected()
    return Instance(
        id=container.id,
        name=labels.service or container.name,
        backend=backend,
        state=container.state,
        state_detail=container.status,
        image=container.image,
        ports=_ports(container, host_ports, joined),
        ips=joined.ips if joined else container.ips,
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
        notes=(*labels.notes, *_notes(container, joined)),
    )


def _notes(container: Container, joined: Container | None) -> Iterator[str]:
    yield from map(_UNSUPPORTED.format, container.unsupported_ports)
    inspected = container.inspected or Inspected()
    if _is_on_host(container, joined) and inspected.main_pid and not inspected.control_group:
        yield _NO_GROUP


def _is_on_host(container: Container, joined: Container | None) -> bool:
    """Return True if a container is on the host's network, by itself or by joining."""
    return (joined or container).network == HOST


def _ports(
    container: Container, host_ports: tuple[PortMapping, ...], joined: Container | None
) -> tuple[PortMapping, ...]:
    """Return all ports, sorted."""
    metadata = container.labels.metadata
    if _is_on_host(container, joined):
        # An exposed port may be another process's: only listeners and metadata count.
        seen = {(port.container_port, port.protocol) for port in host_ports}
        return tuple(sorted([*host_ports, *declared(metadata, seen)]))
    published = _served_for(container, joined) if joined else container.ports
    return tuple(sorted([*published, *unpublished(published, container.exposed, metadata)]))


def _served_for(container: Container, joined: Container) -> tuple[PortMapping, ...]:
    """Return the ports published by ``joined`` that ``container`` serves in its network.

    Image and metadata name the ports of a container. Without them, any port may be its own.
    """
    own = container.exposed | ports_in_metadata(container.labels.metadata)
    return tuple(p for p in joined.ports if not own or (p.container_port, p.protocol) in own)
