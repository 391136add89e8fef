"""The ports of an instance that other hosts can reach, and their addresses.

A port that a runtime publishes, or on which a unit listens, is reached at this host. An
unpublished port of an instance with routable addresses is reached at those. A port that only this
host reaches is refused with a reason.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address

from koi_agent.core.errors import BadInput
from koi_agent.core.instance import Instance, PortMapping, Protocol, Refusal

Address = IPv4Address | IPv6Address


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class Endpoint:
    """A port that other hosts can reach.

    Without ``addresses`` it is reached at this host's own. ``port`` is the port to connect to,
    ``inside`` the port that the instance itself uses.
    """

    port: int
    protocol: Protocol
    inside: int
    addresses: tuple[str, ...] = ()


def endpoints(instance: Instance) -> tuple[tuple[Endpoint, ...], tuple[Refusal, ...]]:
    """Return the endpoints of an instance by port, and a refusal for each other port.

    Binds of one port to several addresses, IPv4 and IPv6, are one endpoint.
    """
    found: dict[tuple[int, Protocol, int], set[str]] = {}
    refused: dict[str, str] = {}
    for mapping in instance.ports:
        try:
            _check_named_port(instance, mapping)
            port, addresses = _reached(instance, mapping)
        except BadInput as bad:
            refused[_name(mapping)] = str(bad)
        else:
            service = port, mapping.protocol, mapping.container_port
            found.setdefault(service, set()).update(addresses)
    reached = {f"{inside}/{protocol}" for _, protocol, inside in found}
    return (
        tuple(sorted(_merged(found))),
        tuple(Refusal(key=k, reason=why) for k, why in sorted(refused.items()) if k not in reached),
    )


def _merged(found: dict[tuple[int, Protocol, int], set[str]]) -> Iterator[Endpoint]:
    for (port, protocol, inside), addresses in found.items():
        everywhere = "" in addresses
        yield Endpoint(
            port=port,
            protocol=protocol,
            inside=inside,
            addresses=() if everywhere else tuple(sorted(addresses)),
        )


def _name(mapping: PortMapping) -> str:
    return f"{mapping.container_port}/{mapping.protocol}"


def _check_named_port(instance: Instance, mapping: PortMapping) -> None:
    """Raise ``BadInput`` if the metadata names other ports."""
    wanted = instance.metadata.port
    own = dict(instance.metadata.ports)
    if wanted in (None, mapping.container_port):
        return
    if (mapping.container_port, mapping.protocol) not in own:
        raise BadInput(f"its metadata names {wanted} as the port that serves")


def _reached(instance: Instance, mapping: PortMapping) -> tuple[int, tuple[str, ...]]:
    """Return port and addresses, an empty string for this host's own. Raises ``BadInput``."""
    if mapping.host_port == 0:
        return mapping.container_port, _own_addresses(instance)
    if not mapping.host_ip:
        return mapping.host_port, ("",)
    address = _address(mapping.host_ip)
    if address is None:
        raise BadInput(f"it is bound to something that is not an address: {mapping.host_ip[:60]!r}")
    if address.is_unspecified:
        return mapping.host_port, ("",)
    if address.is_loopback or address.is_multicast:
        raise BadInput("it is bound to an address that only this host reaches")
    if not _is_global(address):
        raise BadInput("it is bound to a link-local address")
    return mapping.host_port, (str(address),)


def _own_addresses(instance: Instance) -> tuple[str, ...]:
    if not instance.traits.is_routable:
        raise BadInput("it is not published, so only this host reaches it")
    own = (_address(text) for text in instance.ips)
    usable = tuple(str(address) for address in own if address and _is_global(address))
    if not usable:
        raise BadInput("the instance has no address of its own yet")
    return usable


def _address(text: str) -> Address | None:
    """Parse an address without its zone; an IPv4-mapped IPv6 address becomes IPv4."""
    try:
        parsed = ip_address(text.partition("%")[0])
    except ValueError:
        return None
    mapped = parsed.ipv4_mapped if isinstance(parsed, IPv6Address) else None
    return mapped or parsed


def _is_global(address: Address) -> bool:
    """Return True if an address means the same on every host of the network."""
    return not (
        address.is_loopback
        or address.is_link_local
        or address.is_unspecified
        or address.is_multicast
    )
