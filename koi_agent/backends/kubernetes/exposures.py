"""The Services that lead to each pod: what they add to its ports and to its metadata."""

from collections.abc import Callable, Iterable, Iterator, Set
from itertools import islice
from operator import attrgetter
from typing import Final

from koi_agent.backends.kubernetes.kept import Kept
from koi_agent.backends.kubernetes.pods import Pod
from koi_agent.backends.kubernetes.services import Service, ServicePort, Slice, SlicePort
from koi_agent.core.instance import Instance, PortMapping, PortSource, copied
from koi_agent.core.metadata.parser import merge
from koi_agent.core.ports import with_declared

MAX_WAYS: Final = 1000
"""Maximum number of ports that the Services of a pod add to it."""
_TOO_MANY: Final = f"its Services have more than {MAX_WAYS} ports: none of them counts"
_NOTHING: frozenset[str] = frozenset()


class Exposures:
    """Services and EndpointSlices of several ``parts``, each of which is listed separately.

    ``refresh`` gets the UIDs of pods for which they changed.
    """

    def __init__(self, refresh: Callable[[Set[str]], None], parts: Iterable[str]) -> None:
        parts = tuple(parts)
        self.services = {part: Kept[Service](self._service_changed) for part in parts}
        self.slices = {part: Kept[Slice](self._slice_changed) for part in parts}
        self._refresh = refresh
        self._by_key: dict[str, Service] = {}
        self._of_pod: dict[str, dict[str, Slice]] = {}
        self._of_service: dict[str, dict[str, Slice]] = {}

    def _service_changed(self, _uid: str, old: Service | None, new: Service | None) -> None:
        if old and self._by_key.get(old.key) == old:
            del self._by_key[old.key]
        if new:
            self._by_key[new.key] = new
        if old and new and _content(old) == _content(new):
            return
        key = new.key if new else old.key if old else ""
        slices = self._of_service.get(key, {}).values()
        self._refresh({pod for one in slices for pod in one.pods})

    def _slice_changed(self, uid: str, old: Slice | None, new: Slice | None) -> None:
        if old:
            _drop(self._of_service, old.key, uid)
        if new:
            self._of_service.setdefault(new.key, {})[uid] = new
            for pod in new.pods:
                self._of_pod.setdefault(pod, {})[uid] = new
        before, now = old.pods if old else _NOTHING, new.pods if new else _NOTHING
        for pod in before - now:
            _drop(self._of_pod, pod, uid)
        changed = before | now
        if old and new and (old.key, old.ports) == (new.key, new.ports):
            changed = before ^ now | old.ready ^ new.ready
        if changed:
            self._refresh(changed)

    def exposed(self, pod: Pod) -> Instance:
        """Return the instance of a pod with what its Services add.

        The annotations of the pod itself take precedence. Those of a Service count even while the
        pod is not ready, because they may opt out. Its ports that a Service publishes count as
        published.
        """
        instance = pod.instance
        slices = [
            one
            for one in self._of_pod.get(instance.id, {}).values()
            if one.namespace == instance.project  # others may name any pod
        ]
        services = {one.key: self._by_key[one.key] for one in slices if one.key in self._by_key}
        if not services:
            return instance
        metadata = instance.metadata
        for _, service in sorted(services.items()):
            metadata = merge(metadata, service.metadata)
        ready = (one for one in slices if one.key in services and instance.id in one.ready)
        ways = (way for one in ready for way in _published(one, services[one.key], pod))
        found = list(islice(ways, MAX_WAYS + 1))
        added = set(found) if len(found) <= MAX_WAYS else set()
        if found and not added:
            instance = copied(instance, notes=(*instance.notes, _TOO_MANY))
        own = {one for one in instance.ports if one.source is not PortSource.DECLARED}
        open_ = {one for one in (*added, *own) if one.source is not PortSource.CLUSTER}
        published = {(one.container_port, one.protocol) for one in open_}
        inside = {*instance.ports, *map(_own, added if instance.ips else ())} - own
        unpublished = (one for one in inside if (one.container_port, one.protocol) not in published)
        ports = with_declared([*own, *added, *unpublished], metadata, is_routable=True)
        return copied(instance, ports=ports, metadata=metadata)


_content = attrgetter("key", "metadata", "ports", "addresses", "cluster_addresses", "node_address")
"""All fields of a Service except its version."""


def _published(one: Slice, service: Service, pod: Pod) -> Iterator[PortMapping]:
    """Yield the ports of nodes, and of addresses of the Service, that lead to a pod of a slice."""
    for port in one.ports:
        for outside in service.ports:
            if (outside.name, outside.protocol) == (port.name, port.protocol):
                yield from _ways(port, outside, service, pod)


def _ways(
    inside: SlicePort, outside: ServicePort, service: Service, pod: Pod
) -> Iterator[PortMapping]:
    """Yield the ways to one port of a pod.

    Other nodes may forward nothing to the pods of this one, so a port of a node counts for its own
    pods only (externalTrafficPolicy). This host is a node if it has pods.
    """
    if outside.node_port and pod.is_local:
        yield _mapping(inside, outside.node_port, service.node_address, PortSource.PUBLISHED)
    for address in pod.node_ips if outside.node_port else ():
        if _is_open(address, service):
            yield _mapping(inside, outside.node_port, address, PortSource.EXTERNAL)
    for address in service.addresses:
        yield _mapping(inside, outside.port, address, PortSource.EXTERNAL)
    for address in service.cluster_addresses if pod.is_local else ():
        yield _mapping(inside, outside.port, address, PortSource.CLUSTER)


def _is_open(address: str, service: Service) -> bool:
    """Return True if an address of a node has the family of a Service."""
    return not service.node_address or (":" in address) is (":" in service.node_address)


def _mapping(inside: SlicePort, outside: int, address: str, source: PortSource) -> PortMapping:
    return PortMapping(
        container_port=inside.port,
        protocol=inside.protocol,
        host_port=outside,
        host_ip=address,
        source=source,
        is_v6only=address == "::",
    )


def _own(port: PortMapping) -> PortMapping:
    """Return a port of a Service as the pod has it at its own addresses."""
    return PortMapping(
        container_port=port.container_port,
        protocol=port.protocol,
        host_port=0,
        host_ip="",
        source=PortSource.DECLARED,
    )


def _drop(index: dict[str, dict[str, Slice]], key: str, uid: str) -> None:
    entries = index.get(key, {})
    entries.pop(uid, None)
    if not entries:
        index.pop(key, None)
