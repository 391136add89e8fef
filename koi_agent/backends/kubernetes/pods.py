"""Pods as values, parsed from the responses of the API. Only fields that matter are kept."""

import sys
from collections.abc import Iterator, Mapping
from dataclasses import replace
from ipaddress import ip_address
from typing import Final

from koi_agent.backends.http_engine.json_fields import (
    JSONObject,
    as_object,
    get_int,
    get_ip,
    get_object,
    get_objects,
    get_str,
    get_time,
)
from koi_agent.backends.kubernetes.records import (
    get_name,
    get_owner,
    get_texts,
    get_uid,
    get_version,
    is_of_node,
    is_uid,
)
from koi_agent.backends.kubernetes.states import pod_state
from koi_agent.core.frozen import frozen
from koi_agent.core.instance import (
    Instance,
    InstanceState,
    KoiMetadata,
    PortMapping,
    PortSource,
    Protocol,
)
from koi_agent.core.metadata.parser import from_annotations
from koi_agent.core.ports import declared
from koi_agent.core.text import printable
from koi_agent.core.traits import LOCAL_POD, POD
from koi_agent.host.pod_groups import pod_group

PREFIX: Final = "koi.sylin.org/"
_STATIC_UID: Final = "kubernetes.io/config.hash"
"""The annotation with the kubelet's own UID of a pod that it made from a file."""
_MIRROR: Final = "kubernetes.io/config.mirror"
"""The annotation that only the kubelet may write, on the mirror of such a pod."""
_HASH: Final = "pod-template-hash"
_ORDINAL: Final = "apps.kubernetes.io/pod-index"
PROTOCOLS: Final = {"TCP": Protocol.TCP, "": Protocol.TCP, "UDP": Protocol.UDP}
PORT_LIMIT: Final = 2**16
_MAX_TEXT: Final = 253
_UNSUPPORTED: Final = "port {} is ignored: it is neither TCP nor UDP"
_NO_GROUP: Final = "its control group was not found: the ports that it listens on are not known"


@frozen(kw_only=True)
class Place:
    """The origin of a response: the name of the backend, and that of this host's node."""

    backend: str
    node: str


@frozen(kw_only=True)
class Pod:
    """A pod as it is now.

    ``version`` is greater after each change. ``owner`` is the UID of the object that controls it,
    or "", and ``number`` is the one that its owner gave it, from 1, or 0. ``is_local`` is True for
    a pod of this host, and ``uses_host`` for one on its network. ``node_ips`` are the addresses of
    the node of a pod that is not local.
    """

    instance: Instance
    version: int
    owner: str = ""
    number: int = 0
    is_local: bool = False
    uses_host: bool = False
    node_ips: tuple[str, ...] = ()

    @property
    def is_here(self) -> bool:
        """True if it runs, or is about to."""
        return self.instance.state is not InstanceState.STOPPED


def parse_pod(value: object, place: Place) -> Pod:
    """Parse a record; raise ``BadInput`` if it is not that of a pod."""
    record = as_object(value)
    labels = get_texts(record, "labels")
    owner, owner_name = get_owner(record)
    spec = get_object(record, "spec")
    is_local = get_str(spec, "nodeName") == place.node
    return Pod(
        instance=_instance(record, place, _workload(owner_name, labels)),
        version=get_version(record),
        owner=sys.intern(owner),
        number=_number(labels),
        is_local=is_local,
        uses_host=is_local and spec.get("hostNetwork") is True,
        node_ips=() if is_local else _ips(get_object(record, "status"), "hostIP"),
    )


def _instance(record: JSONObject, place: Place, workload: str) -> Instance:
    """Return the instance of a pod, without its number; raise ``BadInput``."""
    spec, status = get_object(record, "spec"), get_object(record, "status")
    node, state = get_str(spec, "nodeName"), pod_state(record)
    metadata = from_annotations(koi_annotations(record))
    is_local, uses_host = node == place.node, spec.get("hostNetwork") is True
    group = _group(record) if is_local else ""
    return Instance(
        id=get_uid(record),
        name=get_name(record),
        backend=place.backend,
        state=state.state if node else InstanceState.STOPPED,
        state_detail=sys.intern(state.detail),
        image=_image(spec),
        ports=_ports(spec, metadata, is_local=is_local, uses_host=uses_host),
        ips=() if uses_host and is_local else _ips(status),
        metadata=metadata,
        health=state.health,
        health_detail=state.health_detail,
        control_group=group,
        created_at=get_time(get_object(record, "metadata"), "creationTimestamp") * 1_000_000,
        project=sys.intern(get_name(record, "namespace")),
        workload=sys.intern(workload),
        ending=bool(get_str(get_object(record, "metadata"), "deletionTimestamp")),
        notes=tuple(_notes(spec, is_hidden=is_local and uses_host and not group)),
        traits=LOCAL_POD if is_local else POD,
    )


def _group(record: JSONObject) -> str:
    """Return the control group of a pod of this host, or ""."""
    return pod_group(kubelet_uid(record), get_str(get_object(record, "status"), "qosClass"))


def kubelet_uid(record: JSONObject) -> str:
    """Return the UID that the kubelet uses for a pod; raise ``BadInput``."""
    annotations = get_texts(record, "annotations")
    is_static = _MIRROR in annotations and is_of_node(record)
    static = annotations.get(_STATIC_UID, "") if is_static else ""
    return static if is_uid(static) else get_uid(record)


def koi_annotations(record: JSONObject) -> JSONObject:
    """Return the annotations of an object that are for the agent, of any type."""
    all_ = get_object(get_object(record, "metadata"), "annotations")
    return {key: value for key, value in all_.items() if key[: len(PREFIX)].lower() == PREFIX}


def _ips(status: JSONObject, field: str = "podIP") -> tuple[str, ...]:
    """Return the addresses of a pod or its node, of both families, the preferred one first."""
    found = [get_ip(one, "ip") for one in get_objects(status, f"{field}s")]
    texts = [text for text in (*found, get_ip(status, field)) if text]
    return tuple(dict.fromkeys(str(ip_address(text)) for text in texts))


def _image(spec: JSONObject) -> str:
    first = next(get_objects(spec, "containers"), {})
    return sys.intern(printable(get_str(first, "image"), _MAX_TEXT))


def _workload(owner: str, labels: Mapping[str, str]) -> str:
    """Return the name of the workload of a pod: that of its owner, or of the owner's Deployment.

    A Deployment adds a hash to the names of its ReplicaSets, and to the labels of their pods.
    """
    hashed = labels.get(_HASH)
    return owner.removesuffix(f"-{hashed}") if hashed else owner


def _number(labels: Mapping[str, str]) -> int:
    """Return the number of a pod of a StatefulSet, from 1, or 0 for any other pod."""
    ordinal = labels.get(_ORDINAL, "")
    return int(ordinal) + 1 if ordinal.isascii() and ordinal.isdigit() and len(ordinal) < 6 else 0


def _container_ports(spec: JSONObject) -> Iterator[JSONObject]:
    """Yield the ports of all containers that serve, including sidecars."""
    sidecars = (
        one
        for one in get_objects(spec, "initContainers")
        if get_str(one, "restartPolicy") == "Always"
    )
    for container in (*get_objects(spec, "containers"), *sidecars):
        yield from get_objects(container, "ports")


def _notes(spec: JSONObject, *, is_hidden: bool) -> Iterator[str]:
    for port in _container_ports(spec):
        if get_str(port, "protocol") not in PROTOCOLS:
            yield _UNSUPPORTED.format(get_int(port, "containerPort", PORT_LIMIT))
    if is_hidden:
        yield _NO_GROUP


def _ports(
    spec: JSONObject, metadata: KoiMetadata, *, is_local: bool, uses_host: bool
) -> tuple[PortMapping, ...]:
    """Return all ports, sorted.

    A host port belongs to the host that the pod is on. On another one it is not reached here.
    """
    mapped = {one for one in map(_mapping, _container_ports(spec)) if one}
    ports = {one if is_local and one.host_port else _unpublished(one) for one in mapped}
    if uses_host and is_local:
        ports = {_on_host(one) for one in ports}
    published = {(one.container_port, one.protocol) for one in ports if one.host_port}
    ports = {
        one for one in ports if one.host_port or (one.container_port, one.protocol) not in published
    }
    seen = {(one.container_port, one.protocol) for one in ports}
    named = declared(metadata, seen)
    if not (uses_host and is_local):
        named = (replace(one, host_port=0) for one in named)
    return tuple(sorted([*ports, *named]))


def _mapping(port: JSONObject) -> PortMapping | None:
    number = get_int(port, "containerPort", PORT_LIMIT)
    protocol = PROTOCOLS.get(get_str(port, "protocol"))
    if not number or protocol is None:
        return None
    return PortMapping(
        container_port=number,
        protocol=protocol,
        host_port=get_int(port, "hostPort", PORT_LIMIT),
        host_ip=get_ip(port, "hostIP"),
        source=PortSource.PUBLISHED,
    )


def _unpublished(port: PortMapping) -> PortMapping:
    return replace(port, host_port=0, host_ip="", source=PortSource.DECLARED)


def _on_host(port: PortMapping) -> PortMapping:
    """Return a port of a pod on the host's network: any process of the host may listen on it."""
    return replace(port, host_port=port.container_port, host_ip="", source=PortSource.DECLARED)
