"""The limits of a bound port of this host: its address, its interface and the unit's firewall."""

from collections.abc import Iterable, Mapping

from koi_agent.core.errors import BadInput
from koi_agent.core.frozen import frozen
from koi_agent.core.instance import Instance, PortMapping, PortSource
from koi_agent.core.reach.addresses import BOTH, Address, Family, family, family_set, parse
from koi_agent.core.reach.filters import OPEN, AddressFilter
from koi_agent.core.reach.network import HostNetwork, Link, LinkKind


class NotNow(BadInput):
    """A port can't be reached at present; that may change without a change of the instance."""


@frozen(kw_only=True)
class Bounds:
    """Addresses, interfaces and families of a port, as in ``Endpoint``."""

    addresses: tuple[str, ...] = ()
    interfaces: tuple[str, ...] = ()
    families: frozenset[Family] = BOTH
    limit: str = ""


def families_of(mapping: PortMapping) -> frozenset[Family]:
    """Return the families over which a bind is reached."""
    address = parse(mapping.host_ip)
    if address is None:
        return BOTH
    is_v6 = family(address) is Family.IPV6
    if is_v6 and address.is_unspecified and not mapping.is_v6only:
        return BOTH
    return family_set((family(address),))


def bound_address(mapping: PortMapping) -> Address | None:
    """Return the address of a bind, None if it is not known; raise ``BadInput``."""
    address = parse(mapping.host_ip)
    if address is None and mapping.host_ip:
        raise BadInput(f"it is bound to something that is not an address: {mapping.host_ip[:60]!r}")
    return address


def bounds_of(instance: Instance, mapping: PortMapping, network: HostNetwork) -> Bounds:
    """Return the bounds of a port of this host; raise ``BadInput`` or ``NotNow``."""
    if mapping.source is PortSource.DECLARED:
        port = f"{mapping.host_port}/{mapping.protocol}"
        raise NotNow(f"nothing of it listens on port {port} of this host")
    if mapping.source is PortSource.CLUSTER:
        address_and_port = f"{mapping.host_ip}, port {mapping.host_port},"
        raise BadInput(f"the cluster address {address_and_port} is for this host and its cluster")
    address = bound_address(mapping)
    bounds = Bounds(families=families_of(mapping))
    if address and not address.is_unspecified:
        is_external = (
            mapping.source is PortSource.EXTERNAL and network.with_address(address) is None
        )
        bounds = (_elsewhere if is_external else _at_address)(address, network)
    if mapping.interface:
        bounds = _through(mapping.interface, bounds, network)
    return _filtered(instance.address_filter, bounds, network)


def _at_address(address: Address, network: HostNetwork) -> Bounds:
    """Return the bounds of a bind to one address: the network that has this address."""
    if address.is_loopback or address.is_multicast:
        raise BadInput("it is bound to an address that only this host reaches")
    link = network.with_address(address)
    if link is None and network.is_known:
        raise NotNow(f"no interface of this host has the address {address}")
    if link is None and address.is_link_local:
        raise NotNow(f"the interface of the address {address} is not known")
    anywhere = link is None or link.kind is LinkKind.LOOPBACK  # routed to this host, if anything
    if link and not anywhere:
        _check(link, f"it is bound to {address}")
    return Bounds(
        addresses=(str(address),),
        interfaces=(link.name,) if link and not anywhere else (),
        families=family_set((family(address),)),
        limit=f"bound to {address}",
    )


def _elsewhere(address: Address, network: HostNetwork) -> Bounds:
    """Return the bounds of an address that this host does not have, such as a load balancer's."""
    if address.is_loopback or address.is_multicast or address.is_link_local:
        raise BadInput(f"the external address {address} has no meaning for other hosts")
    link = network.towards(address)
    if link:
        _check(link, f"its external address is {address}")
    return Bounds(
        addresses=(str(address),),
        interfaces=(link.name,) if link else (),
        families=family_set((family(address),)),
        limit=f"at the external address {address}",
    )


def _through(name: str, bounds: Bounds, network: HostNetwork) -> Bounds:
    """Return the bounds of a bind to an interface."""
    link = network.link(name)
    if link is None and network.is_known:
        raise NotNow(f"it is bound to the interface {name}, which does not exist")
    if link:
        _check(link, f"it is bound to the interface {name}")
    if bounds.interfaces and name not in bounds.interfaces:
        raise BadInput(f"its address is not one of the interface {name}, which it is bound to")
    return Bounds(
        addresses=bounds.addresses,
        interfaces=(name,),
        families=bounds.families,
        limit=f"bound to {name}",
    )


def _check(link: Link, bound: str) -> None:
    """Raise ``BadInput`` or ``NotNow`` if no other host is on the network of an interface."""
    match link.kind:
        case LinkKind.LOOPBACK:
            raise BadInput(f"{bound}, so only this host reaches it")
        case LinkKind.CONTAINERS:
            raise BadInput(f"{bound}; only containers of this host are on {link.name}")
        case LinkKind.DOWN:
            raise NotNow(f"{bound}; {link.name} is down")
        case LinkKind.NETWORK:
            return


def _filtered(rules: AddressFilter, bounds: Bounds, network: HostNetwork) -> Bounds:
    """Return the bounds without the networks and families that the unit's firewall keeps out."""
    if rules == OPEN:
        return bounds
    links = [
        link
        for link in network.networks()
        if not bounds.interfaces or link.name in bounds.interfaces
    ]
    by_link = {link.name: _admitted(rules, link, bounds.families) for link in links}
    admitted = [name for name, families in by_link.items() if families]
    if links and not admitted:
        raise BadInput("IPAddressDeny= or RestrictNetworkInterfaces= keeps other hosts out")
    families = bounds.families - _kept_out(links, by_link)
    if len(admitted) == len(links) and families == bounds.families:
        return bounds
    limit = "IPAddressDeny= or RestrictNetworkInterfaces= keeps the other networks out"
    return Bounds(
        addresses=bounds.addresses,
        interfaces=tuple(sorted(admitted)) if len(admitted) < len(links) else bounds.interfaces,
        families=families,
        limit=limit,
    )


def _admitted(rules: AddressFilter, link: Link, families: Iterable[Family]) -> frozenset[Family]:
    """Return the families over which some host on the network of an interface may connect."""
    if not rules.admits_interface(link.name):
        return frozenset()
    own = [one for one in link.addresses if one.family in families]
    return frozenset(one.family for one in own if rules.admits_network(one.network))


def _kept_out(links: Iterable[Link], by_link: Mapping[str, frozenset[Family]]) -> frozenset[Family]:
    """Return the families that are kept out on a network that another family may use.

    If both families are, each on another network, none is returned: no endpoint can express that.
    """
    denied = {
        one.family
        for link in links
        if by_link[link.name]
        for one in link.addresses
        if one.family not in by_link[link.name]
    }
    return frozenset(denied) if len(denied) < len(Family) else frozenset()
