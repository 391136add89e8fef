"""The Services that lead to each pod: what they add to its ports and to its metadata."""

from collections.abc import Callable, Iterable, Iterator, Set
from operator import attrgetter

from koi_agent.backends.kubernetes.kept import Kept
from koi_agent.backends.kubernetes.pods import Pod
from koi_agent.backends.kubernetes.services import Service, Slice
from koi_agent.core.instance import Instance, PortMapping, PortSource, Protocol, copied
from koi_agent.core.metadata.parser import merge
from koi_agent.core.ports import with_declared

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
        slices = [*self._of_pod.get(instance.id, {}).values()]
        services = {one.key: self._by_key[one.key] for one in slices if one.key in self._by_key}
        if not services:
            return instance
        metadata = instance.metadata
        for _, service in sorted(services.items()):
            metadata = merge(metadata, service.metadata)
        added = {
            port
            for one in slices
            if pod.is_local and one.key in services and instance.id in one.ready
            for port in _published(one, services[one.key])
        }
        open_ = {(one.container_port, one.protocol) for one in added}
        own = (
            one
            for one in instance.ports
            if one.host_port or (one.container_port, one.protocol) not in open_
        )
        ports = with_declared([*own, *added], metadata, is_routable=True)
        return copied(instance, ports=ports, metadata=metadata)


_content = attrgetter("key", "metadata", "ports", "addresses")
"""All fields of a Service except its version."""


def _published(one: Slice, service: Service) -> Iterator[PortMapping]:
    """Yield the ports of this host, and of external addresses, that lead to the pods of a slice."""
    for port in one.ports:
        for outside in service.ports:
            if (outside.name, outside.protocol) != (port.name, port.protocol):
                continue
            if outside.node_port:
                yield _mapping(port.port, outside.node_port, "", port.protocol)
            for address in service.addresses:
                yield _mapping(port.port, outside.port, address, port.protocol)


def _mapping(inside: int, outside: int, address: str, protocol: Protocol) -> PortMapping:
    return PortMapping(
        container_port=inside,
        protocol=protocol,
        host_port=outside,
        host_ip=address,
        source=PortSource.PUBLISHED,
    )


def _drop(index: dict[str, dict[str, Slice]], key: str, uid: str) -> None:
    entries = index.get(key, {})
    entries.pop(uid, None)
    if not entries:
        index.pop(key, None)
