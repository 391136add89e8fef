"""Services and their EndpointSlices as values, parsed from the responses of the API."""

from collections.abc import Iterator, Mapping
from typing import Final, NamedTuple

from koi_agent.backends.http_engine.json_fields import (
    JSONObject,
    as_object,
    get_int,
    get_ip,
    get_object,
    get_objects,
    get_str,
    get_strs,
)
from koi_agent.backends.kubernetes.pods import PORT_LIMIT, PROTOCOLS, koi_annotations
from koi_agent.backends.kubernetes.records import get_name, get_texts, get_version, is_uid
from koi_agent.core.errors import BadInput
from koi_agent.core.frozen import frozen
from koi_agent.core.instance import KoiMetadata, Protocol
from koi_agent.core.metadata.parser import from_annotations

_SERVICE_NAME: Final = "kubernetes.io/service-name"
_EXTERNAL_NAME: Final = "ExternalName"
_HEADLESS: Final = "None"
_ANY: Final[Mapping[tuple[str, ...], str]] = {("IPv4",): "0.0.0.0", ("IPv6",): "::"}  # noqa: S104 - compared, not bound
"""The address of a bind to all addresses of a family; which ones a node uses is not known."""


class ServicePort(NamedTuple):
    """A port of a Service: ``node_port`` is open on each node, 0 for none."""

    name: str
    protocol: Protocol
    port: int
    node_port: int


class SlicePort(NamedTuple):
    """A port of the pods behind a Service."""

    name: str
    protocol: Protocol
    port: int


@frozen(kw_only=True)
class Service:
    """A Service: ``addresses`` are those outside the cluster that lead to it.

    ``cluster_addresses`` are reached in the cluster only. ``node_address`` is "" if its ports of
    nodes are open for both families.
    """

    key: str
    version: int
    metadata: KoiMetadata
    ports: tuple[ServicePort, ...] = ()
    addresses: tuple[str, ...] = ()
    cluster_addresses: tuple[str, ...] = ()
    node_address: str = ""


@frozen(kw_only=True)
class Slice:
    """Some pods behind the Service ``key``, by UID. ``ready`` are those that it leads to."""

    key: str
    version: int
    ports: tuple[SlicePort, ...]
    pods: frozenset[str]
    ready: frozenset[str]

    @property
    def namespace(self) -> str:
        """The namespace of the Service and of its pods."""
        return self.key.partition("/")[0]


def parse_service(value: object) -> Service:
    """Parse a record; raise ``BadInput`` if it is not that of a Service."""
    record = as_object(value)
    spec = get_object(record, "spec")
    key, version = f"{get_name(record, 'namespace')}/{get_name(record)}", get_version(record)
    metadata = from_annotations(koi_annotations(record))
    if get_str(spec, "type") == _EXTERNAL_NAME or get_str(spec, "clusterIP") == _HEADLESS:
        return Service(key=key, version=version, metadata=metadata)  # nodes forward nothing to it
    return Service(
        key=key,
        version=version,
        metadata=metadata,
        ports=tuple(_service_ports(spec)),
        addresses=tuple(dict.fromkeys(_addresses(record))),
        cluster_addresses=tuple(dict.fromkeys(_cluster_addresses(spec))),
        node_address=_ANY.get(tuple(get_strs(spec, "ipFamilies")), ""),
    )


def _service_ports(spec: JSONObject) -> Iterator[ServicePort]:
    for port in get_objects(spec, "ports"):
        number = get_int(port, "port", PORT_LIMIT)
        protocol = PROTOCOLS.get(get_str(port, "protocol"))
        if number and protocol:
            node_port = get_int(port, "nodePort", PORT_LIMIT)
            yield ServicePort(get_str(port, "name"), protocol, number, node_port)


def _addresses(record: JSONObject) -> Iterator[str]:
    """Yield the external addresses of a Service, and those of its load balancer."""
    for text in get_strs(get_object(record, "spec"), "externalIPs"):
        if address := get_ip({"ip": text}, "ip"):
            yield address
    balancer = get_object(get_object(record, "status"), "loadBalancer")
    for ingress in get_objects(balancer, "ingress"):
        if address := get_ip(ingress, "ip"):
            yield address


def _cluster_addresses(spec: JSONObject) -> Iterator[str]:
    for text in (get_str(spec, "clusterIP"), *get_strs(spec, "clusterIPs")):
        if address := get_ip({"ip": text}, "ip"):
            yield address


def parse_slice(value: object, node: str) -> Slice:
    """Parse a record; raise ``BadInput`` if it is not that of an EndpointSlice.

    Only pods of ``node`` count, those of all nodes if it is "".
    """
    record = as_object(value)
    service = get_texts(record, "labels").get(_SERVICE_NAME, "")
    if "/" in service:
        raise BadInput(f"metadata.labels: {_SERVICE_NAME}: not a name")
    pods = list(_pods(record, node))
    return Slice(
        key=f"{get_name(record, 'namespace')}/{service}",
        version=get_version(record),
        ports=tuple(_slice_ports(record)),
        pods=frozenset(uid for uid, _ in pods),
        ready=frozenset(uid for uid, is_ready in pods if is_ready),
    )


def _slice_ports(record: JSONObject) -> Iterator[SlicePort]:
    for port in get_objects(record, "ports"):
        number = get_int(port, "port", PORT_LIMIT)
        protocol = PROTOCOLS.get(get_str(port, "protocol"))
        if number and protocol:
            yield SlicePort(get_str(port, "name"), protocol, number)


def _pods(record: JSONObject, node: str) -> Iterator[tuple[str, bool]]:
    """Yield the UID of each pod, and whether it is ready."""
    for endpoint in get_objects(record, "endpoints"):
        target = get_object(endpoint, "targetRef")
        uid = get_str(target, "uid")
        is_ready = get_object(endpoint, "conditions").get("ready") is not False
        is_followed = not node or get_str(endpoint, "nodeName") in ("", node)
        if get_str(target, "kind") == "Pod" and is_uid(uid) and is_followed:
            yield uid, is_ready
