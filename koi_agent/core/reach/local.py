"""How this host itself reaches a port of an instance, for health checks.

A check connects where a user of this host would connect. If this host can't connect, the health of
the instance is not known, which differs from unhealthy.
"""

from collections.abc import Iterator
from typing import Final, NamedTuple

from koi_agent.core.errors import BadInput
from koi_agent.core.instance import Instance, PortMapping, PortSource
from koi_agent.core.reach.addresses import Address, Family, is_unicast, parse
from koi_agent.core.reach.bounds import bound_address, families_of
from koi_agent.core.reach.network import HostNetwork, LinkKind

_LOOPBACK: Final = "lo"
_LOOPBACKS: Final = {Family.IPV4: "127.0.0.1", Family.IPV6: "::1"}


class Target(NamedTuple):
    """A numeric address and a port to connect to."""

    address: str
    port: int

    @property
    def text(self) -> str:
        """Address and port, as in a URL."""
        return (
            f"[{self.address}]:{self.port}"
            if ":" in self.address
            else f"{self.address}:{self.port}"
        )


class NotFromHere(BadInput):
    """This host can't reach a port, which may still serve others."""


def targets(
    instance: Instance, mapping: PortMapping, network: HostNetwork, *, past_proxy: bool = False
) -> tuple[Target, ...]:
    """Return where this host reaches a port, the best first; raise ``NotFromHere``.

    With ``past_proxy`` a published port is reached at the container's own address if possible: an
    engine's proxy accepts connections for a container that does not listen. So is a published port
    that may lead to other instances.
    """
    if mapping.source is PortSource.CLUSTER:
        return (Target(mapping.host_ip, mapping.host_port),)
    is_inside = past_proxy or instance.traits.shares_ports
    inside = tuple(_inside(instance, mapping, network)) if is_inside else ()
    if not mapping.host_port:
        return tuple(_inside(instance, mapping, network)) or _not_inside(instance, network)
    if mapping.source is PortSource.DECLARED:
        raise NotFromHere(f"nothing of it listens on port {mapping.host_port} of this host")
    found = inside or tuple(_outside(mapping, network))
    return _admitted(instance, found)


def _admitted(instance: Instance, found: tuple[Target, ...]) -> tuple[Target, ...]:
    """Return the targets that the firewall of a unit admits; raise ``NotFromHere`` without one.

    This host reaches its own addresses through its loopback interface.
    """
    rules = instance.address_filter
    if not rules.admits_interface(_LOOPBACK):
        raise NotFromHere("RestrictNetworkInterfaces= keeps connections of this host out")
    addresses = ((target, parse(target.address)) for target in found)
    admitted = [target for target, address in addresses if address and rules.admits(address)]
    if found and not admitted:
        raise NotFromHere("IPAddressDeny= keeps connections of this host out")
    return tuple(admitted)


def _outside(mapping: PortMapping, network: HostNetwork) -> Iterator[Target]:
    """Yield where this host reaches a port of its own; raise ``NotFromHere``."""
    try:
        address = bound_address(mapping)
    except BadInput as bad:
        raise NotFromHere(str(bad)) from bad
    link = network.link(mapping.interface) if mapping.interface else None
    if mapping.interface and (link is None or link.kind is not LinkKind.LOOPBACK):
        raise NotFromHere(
            f"it is bound to {mapping.interface}: connections of this host go through lo"
        )
    if address and not address.is_unspecified:
        yield Target(_present(address, network), mapping.host_port)
        return
    usable = [one for one in sorted(families_of(mapping)) if network.has_loopback(one)]
    if not usable:
        raise NotFromHere("this host has no loopback address of the port's family")
    for family in usable:
        yield Target(_LOOPBACKS[family], mapping.host_port)


def _present(address: Address, network: HostNetwork) -> str:
    """Return an address that this host has; raise ``NotFromHere``."""
    if address.is_link_local or address.is_multicast:
        raise NotFromHere(f"the address {address} has a meaning on one network only")
    known = not network.is_known or address.is_loopback or network.with_address(address)
    if not known:
        raise NotFromHere(f"no interface of this host has the address {address}")
    return str(address)


def _inside(instance: Instance, mapping: PortMapping, network: HostNetwork) -> Iterator[Target]:
    """Yield the instance's own addresses that this host reaches."""
    traits = instance.traits
    for address in map(parse, instance.ips):
        if address and is_unicast(address) and not address.is_link_local:
            link = network.towards(address)
            routed = traits.is_routable or not network.is_known
            is_reached = traits.has_near_addresses or (link.is_bridge if link else routed)
            if is_reached and mapping.container_port:
                yield Target(str(address), mapping.container_port)


def _not_inside(instance: Instance, network: HostNetwork) -> tuple[Target, ...]:
    """Raise ``NotFromHere`` with the reason why no own address is reached."""
    own = [one for one in map(parse, instance.ips) if one and is_unicast(one)]
    if not own:
        raise NotFromHere("no address of the instance is known")
    for address in own:
        link = network.towards(address)
        if link and link.kind is LinkKind.NETWORK:
            # A pod that this host does not reach inside is one of another host.
            is_away = instance.traits.shares_ports
            how = "on another host" if is_away else "by macvlan or ipvlan, past this host"
            raise NotFromHere(f"{address} is on {link.name} {how}")
    raise NotFromHere(f"{own[0]} is on no network of this host")
