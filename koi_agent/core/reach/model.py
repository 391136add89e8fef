"""The networks from which other hosts reach the ports of an instance.

The answer follows from what binds (address, family, interface), from what publishes (an engine, a
socket unit, an address of its own on the LAN), from the interfaces that this host has now, and
from the unit's firewall. It is pure: the same facts give the same answer.
"""

from collections.abc import Iterable, Iterator
from dataclasses import field
from sys import intern
from typing import NamedTuple

from koi_agent.core.errors import BadInput
from koi_agent.core.frozen import frozen
from koi_agent.core.instance import Instance, PortMapping, PortSource, Protocol
from koi_agent.core.reach.addresses import (
    BOTH,
    Address,
    Family,
    family,
    family_set,
    is_unicast,
    parse,
)
from koi_agent.core.reach.bounds import Bounds, NotNow, bounds_of
from koi_agent.core.reach.network import HostNetwork, Link, LinkKind


@frozen(kw_only=True)
class Endpoint:
    """A port that other hosts can reach.

    ``port`` is the port to connect to, ``inside`` the port that the instance itself uses. Without
    ``addresses`` it is reached at this host's own, of ``families``. Without ``interfaces`` it is
    reached through all of them; ``limit`` is the reason of a limit, as shown to users.
    """

    port: int
    protocol: Protocol
    inside: int
    addresses: tuple[str, ...] = ()
    interfaces: tuple[str, ...] = ()
    families: frozenset[Family] = BOTH
    source: PortSource = field(default=PortSource.PUBLISHED, compare=False)
    limit: str = field(default="", compare=False)

    @property
    def family(self) -> Family | None:
        """The only family, None for both."""
        (only, *more) = sorted(self.families)
        return None if more else only

    @property
    def rank(self) -> tuple[bool, bool, bool, int]:
        """Sort key of the endpoints of one service: the one that most hosts reach is first."""
        v6 = self.families == {Family.IPV6}
        return bool(self.addresses), bool(self.interfaces), v6, self.port


class Unreachable(NamedTuple):
    """A port that no other host reaches. ``is_held`` is True if this may change by itself."""

    port: str
    reason: str
    is_held: bool


class Place(NamedTuple):
    """One interface, address and port at which other hosts on a network reach an endpoint."""

    interface: str
    address: str
    port: int


@frozen(kw_only=True)
class Reachability:
    """The endpoints of an instance: the best one for each of its ports, and the other ones."""

    endpoints: tuple[Endpoint, ...] = ()
    others: tuple[Endpoint, ...] = ()
    unreachable: tuple[Unreachable, ...] = ()


def reachability(instance: Instance, network: HostNetwork) -> Reachability:
    """Return where other hosts reach an instance; sorted by the instance's own port.

    Binds of one port to several addresses, IPv4 and IPv6, are one endpoint.
    """
    found: dict[tuple[int, Protocol, int], list[Endpoint]] = {}
    unreachable: dict[str, Unreachable] = {}
    for mapping in instance.ports:
        try:
            _check_named_port(instance, mapping)
            endpoint = _endpoint(instance, mapping, network)
        except BadInput as bad:
            name = f"{mapping.container_port}/{mapping.protocol}"
            unreachable[name] = Unreachable(name, str(bad), isinstance(bad, NotNow))
        else:
            service = endpoint.port, endpoint.protocol, endpoint.inside
            found.setdefault(service, []).append(endpoint)
    services: dict[tuple[int, Protocol], list[Endpoint]] = {}
    for binds in found.values():
        merged = _merged(binds)
        services.setdefault((merged.inside, merged.protocol), []).append(merged)
        unreachable.pop(f"{merged.inside}/{merged.protocol}", None)
    ranked = [sorted(services[key], key=lambda one: one.rank) for key in sorted(services)]
    return Reachability(
        endpoints=tuple(ways[0] for ways in ranked),
        others=tuple(way for ways in ranked for way in ways[1:]),
        unreachable=tuple(unreachable[name] for name in sorted(unreachable)),
    )


def places(endpoint: Endpoint, network: HostNetwork) -> Iterator[Place]:
    """Yield where hosts on each network reach an endpoint, IPv4 first on each interface."""
    for link in network.networks():
        if endpoint.interfaces and link.name not in endpoint.interfaces:
            continue
        for address in _addresses_on(link, endpoint):
            yield Place(link.name, address, endpoint.port)


def _addresses_on(link: Link, endpoint: Endpoint) -> Iterable[str]:
    if endpoint.addresses:
        return [text for text in endpoint.addresses if _is_on(link, text)]
    announced = [one for one in link.announced() if one.family in endpoint.families]
    return [one.address for one in sorted(announced, key=lambda one: one.family)]


def _is_on(link: Link, text: str) -> bool:
    address = parse(text)
    return address is not None and (link.has(address) or link.has_on_link(address))


def _check_named_port(instance: Instance, mapping: PortMapping) -> None:
    """Raise ``BadInput`` if the metadata names other ports."""
    wanted = instance.metadata.port
    own = dict(instance.metadata.ports)
    if wanted in (None, mapping.container_port):
        return
    if (mapping.container_port, mapping.protocol) not in own:
        raise BadInput(f"its metadata names {wanted} as the port that serves")


def _endpoint(instance: Instance, mapping: PortMapping, network: HostNetwork) -> Endpoint:
    """Return the endpoint of one bind; raise ``BadInput`` or ``NotNow``."""
    if mapping.host_port == 0:
        port, bounds = mapping.container_port, _own_addresses(instance, network)
    else:
        port, bounds = mapping.host_port, bounds_of(instance, mapping, network)
    return Endpoint(
        port=port,
        protocol=mapping.protocol,
        inside=mapping.container_port,
        addresses=bounds.addresses,
        interfaces=bounds.interfaces,
        families=bounds.families,
        source=mapping.source,
        limit=bounds.limit,
    )


def _own_addresses(instance: Instance, network: HostNetwork) -> Bounds:
    """Return the instance's own addresses that other hosts reach; raise ``BadInput``.

    An address on the network of an interface that connects other hosts is reached through it: the
    instance has a macvlan or ipvlan interface, or is on a bridge with a port to that network.
    Routing to an instance that is routable is assumed, but not from elsewhere into a private
    network of this host.
    """
    own = [one for one in map(parse, instance.ips) if one and is_unicast(one)]
    usable = [one for one in own if not one.is_link_local]
    links = {one: link for one in usable if (link := _link_of(one, network)) is not None}
    if instance.traits.is_routable:
        if not usable:
            raise NotNow("the instance has no address of its own yet")
        addresses = [one for one in usable if one in links or not _is_inner(one, network)]
    else:
        addresses = list(links)
    if not addresses:
        beyond = "so only this host reaches it" if own else "and it has no address of its own"
        raise BadInput(intern(f"it is not published, {beyond}"))
    names = tuple(sorted({link.name for link in links.values()}))
    return Bounds(
        addresses=tuple(sorted(map(str, addresses))),
        interfaces=names if len(links) == len(addresses) else (),
        families=family_set(map(family, addresses)),
        limit=intern(f"its own address is on {', '.join(names)}") if names else "",
    )


def _link_of(address: Address, network: HostNetwork) -> Link | None:
    link = network.towards(address)
    return link if link and link.kind is LinkKind.NETWORK else None


def _is_inner(address: Address, network: HostNetwork) -> bool:
    """Return True for a private address on a network of which only this host has a part."""
    link = network.towards(address)
    return not address.is_global and link is not None and link.kind is LinkKind.CONTAINERS


def _merged(binds: list[Endpoint]) -> Endpoint:
    """Return the binds of one port as one endpoint; a bind to all addresses includes the others."""
    wide = [bind for bind in binds if not bind.addresses]
    kept = wide or binds
    through_all = any(not bind.interfaces for bind in kept)
    return Endpoint(
        port=kept[0].port,
        protocol=kept[0].protocol,
        inside=kept[0].inside,
        addresses=tuple(sorted({address for bind in kept for address in bind.addresses})),
        interfaces=()
        if through_all
        else tuple(sorted({name for bind in kept for name in bind.interfaces})),
        families=family_set(one for bind in kept for one in bind.families),
        source=kept[0].source,
        limit="" if through_all else "; ".join(sorted({bind.limit for bind in kept})),
    )
