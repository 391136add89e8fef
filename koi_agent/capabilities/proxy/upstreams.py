"""The upstream of an instance for a proxy on this host, always at an address of the instance."""

from collections.abc import Iterator
from typing import Final

from koi_agent.capabilities.proxy.records import Upstream
from koi_agent.core.errors import BadInput
from koi_agent.core.instance import Instance, PortMapping, Protocol
from koi_agent.core.metadata import service_types
from koi_agent.core.ports import serving_binds
from koi_agent.core.reach.addresses import is_unicast, parse
from koi_agent.core.reach.bounds import NotNow
from koi_agent.core.reach.local import NotFromHere, Target, targets
from koi_agent.core.reach.network import HostNetwork

_HTTPS: Final = "_https._tcp"


def upstream_of(instance: Instance, network: HostNetwork) -> Upstream:
    """Return the upstream of an instance; raise ``BadInput``, or ``NotNow`` for now."""
    binds = serving_binds(instance)
    if not binds:
        if instance.ports:
            raise BadInput("there is no TCP port to forward to")
        raise NotNow("no port of it is known")
    scheme, obstacle = scheme_of(instance), ""
    for bind in binds:
        try:
            return Upstream(scheme=scheme, target=_target(instance, bind, network))
        except NotFromHere as reason:
            obstacle = obstacle or str(reason)
    raise NotNow(obstacle)


def scheme_of(instance: Instance) -> str:
    """Return the scheme that metadata names, or that of the type of the port that serves."""
    if instance.metadata.proxy_scheme:
        return instance.metadata.proxy_scheme
    binds = serving_binds(instance)
    if not binds:
        return "http"
    http = service_types.http_port(instance)
    port = binds[0].container_port
    kind = service_types.resolve(port, Protocol.TCP, instance.metadata, http)
    return "https" if kind == _HTTPS else "http"


def _target(instance: Instance, bind: PortMapping, network: HostNetwork) -> Target:
    """Return where this host reaches a bind; raise ``NotFromHere`` or ``BadInput``."""
    try:
        found = targets(instance, bind, network)
    except NotFromHere:
        found = tuple(_beyond(instance, bind, network))
        if not found:
            raise
    if bind.host_port:
        return found[0]
    own = [one for one in found if not _is_of_host(one, network)]
    if not own:
        raise NotFromHere("its address is also this host's")
    near = next((one for one in own if _is_near(one, network)), None)
    if not near and not (instance.metadata.proxy_remote or instance.traits.has_near_addresses):
        text = "is beyond the networks of this host; koi.proxy.remote=true permits it"
        raise BadInput(f"{own[0].address} {text}")
    return near or own[0]


def _is_of_host(target: Target, network: HostNetwork) -> bool:
    """Return True for an address of this host, where other instances may listen on the port."""
    address = parse(target.address)
    return address is None or network.with_address(address) is not None


def _is_near(target: Target, network: HostNetwork) -> bool:
    """Return True for an address on a network of this host."""
    address = parse(target.address)
    return address is not None and network.towards(address) is not None


def _beyond(instance: Instance, bind: PortMapping, network: HostNetwork) -> Iterator[Target]:
    """Yield the own addresses of an instance that are beyond the networks of this host."""
    for address in map(parse, instance.ips):
        if address and is_unicast(address) and not address.is_link_local and not bind.host_port:
            target = Target(str(address), bind.container_port)
            if not _is_near(target, network):
                yield target
