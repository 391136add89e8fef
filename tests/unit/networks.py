"""Networks of a host, for tests: interfaces as the kernel would list them."""

from ipaddress import ip_address

from koi_agent.core.reach.network import HostNetwork, Link, LinkAddress, LinkKind


def link(
    name: str, *addresses: str, kind: LinkKind = LinkKind.NETWORK, bridge: bool = False
) -> Link:
    """Return an interface; an address is written with the length of its prefix."""
    return Link(
        name=name, index=1, kind=kind, is_bridge=bridge, addresses=tuple(map(at, addresses))
    )


def at(text: str) -> LinkAddress:
    address, _, prefix = text.partition("/")
    is_link_local = ip_address(address).is_link_local
    return LinkAddress(address=address, prefix=int(prefix), is_link_local=is_link_local)


LO = link("lo", "127.0.0.1/8", "::1/128", kind=LinkKind.LOOPBACK)
LO4 = link("lo", "127.0.0.1/8", kind=LinkKind.LOOPBACK)
LAN = link("lan0", "192.0.2.10/24", "2001:db8::10/64")
OFFICE = link("lan1", "198.51.100.10/24")
VPN = link("wg0", "10.9.0.1/24")
DOCKER = link("docker0", "172.17.0.1/16", kind=LinkKind.CONTAINERS, bridge=True)
USB = link("usb0", "169.254.7.1/16")
GONE = link("eth9", "203.0.113.1/24", kind=LinkKind.DOWN)
HOST = HostNetwork((DOCKER, GONE, LAN, OFFICE, LO, USB, VPN))
