"""The entries of a record in Avahi, in the groups that change together.

Avahi can't remove one entry of a group, so each address of a host name has a group of its own. A
service has a group on each interface that it is limited to, and else one group.
"""

from collections.abc import Iterator, Sequence
from dataclasses import field
from ipaddress import ip_address
from typing import Any, Final

from koi_agent.capabilities.mdns.records import HostName, MdnsRecord, Service
from koi_agent.core.frozen import frozen
from koi_agent.core.instance import RecordState
from koi_agent.core.metadata.txt import Txt
from koi_agent.host.addresses import HostAddress

EVERY: Final = -1
"""Avahi's AVAHI_IF_UNSPEC and AVAHI_PROTO_UNSPEC."""
NO_REVERSE: Final = 16
"""AVAHI_PUBLISH_NO_REVERSE: the address already has a name, this host's own."""
MOST_ENTRIES: Final = 32
"""Avahi's entries-per-entry-group-max."""
DOMAIN: Final = "local"
LONGEST_LABEL: Final = 63

Method = tuple[str, str, list[Any]]
"""A method of an entry group, with the signature and values of its arguments."""


@frozen()
class Host:
    """This host: its name in Avahi, its addresses, and the indexes of their interfaces by name."""

    name: str = ""
    addresses: tuple[HostAddress, ...] = ()
    interfaces: tuple[tuple[str, int], ...] = ()

    def indexes(self, names: Sequence[str]) -> list[int]:
        """Return the interfaces of these names that have an address; no names mean all."""
        return [index for name, index in self.interfaces if name in names] if names else [EVERY]


@frozen()
class AddressEntry:
    """An address of a host name, announced on one interface or on every one."""

    interface: int
    name: str
    address: str

    def method(self) -> Method:
        """Return the call that adds the entry."""
        body = [self.interface, EVERY, NO_REVERSE, self.name, self.address]
        return "AddAddress", "iiuss", body


@frozen()
class ServiceEntry:
    """A service. TXT records are not compared: they are changed in place."""

    interface: int
    name: str
    type: str
    target: str
    port: int
    txt: Txt = field(compare=False)

    def method(self) -> Method:
        """Return the call that adds the entry."""
        body = [*self._service(), self.target, self.port, self._text()]
        return "AddService", "iiussssqaay", body

    def update(self) -> Method:
        """Return the call that changes the TXT record."""
        return "UpdateServiceTxt", "iiusssaay", [*self._service(), self._text()]

    def _service(self) -> list[Any]:
        return [self.interface, EVERY, 0, self.name, self.type, DOMAIN]

    def _text(self) -> list[bytes]:
        return [f"{key}={value}".encode() for key, value in self.txt]


@frozen()
class SubtypeEntry:
    """A subtype of a service."""

    interface: int
    name: str
    type: str
    subtype: str

    def method(self) -> Method:
        """Return the call that adds the entry."""
        subtype = f"{self.subtype}._sub.{self.type}"
        body = [self.interface, EVERY, 0, self.name, self.type, DOMAIN, subtype]
        return "AddServiceSubtype", "iiussss", body


Entry = AddressEntry | ServiceEntry | SubtypeEntry
Part = tuple[Entry, ...]
"""The entries of one group."""


@frozen()
class Composed:
    """The parts of a record, or the state and the reason of a record that has none."""

    parts: tuple[Part, ...] = ()
    state: RecordState = RecordState.WANTED
    reason: str = ""


def compose(record: MdnsRecord, name: str, host: Host) -> Composed:
    """Return the parts of a record under a name."""
    if isinstance(record, HostName) and name.lower() == host.name.lower():
        return Composed((), RecordState.REFUSED, "it is this host's own name")
    indexes = host.indexes(record.interfaces)
    if not indexes:
        reason = f"this host has no address with multicast on {' or '.join(record.interfaces)}"
        return Composed((), RecordState.HELD, reason)
    if isinstance(record, Service):
        parts = [part for index in indexes for part in _service(record, name, index, host)]
        return Composed(tuple(parts))
    if addresses := list(_addresses(record, indexes, f"{name}.{DOMAIN}", host)):
        return Composed(tuple((address,) for address in addresses))
    kind = f"IPv{record.family} address" if record.family else "address"
    return Composed((), RecordState.HELD, f"this host has no {kind} that other hosts reach")


def _service(service: Service, name: str, index: int, host: Host) -> Iterator[Part]:
    """Yield the parts of a service on an interface: a group has at most 32 entries."""
    target = _target(service, host)
    entries: list[Entry] = [
        ServiceEntry(index, name, service.type, target, service.port, service.txt),
        *(SubtypeEntry(index, name, service.type, subtype) for subtype in service.subtypes),
        *(AddressEntry(index, target, address) for address in service.addresses),
    ]
    for first in range(0, len(entries), MOST_ENTRIES):
        yield tuple(entries[first : first + MOST_ENTRIES])


def _target(service: Service, host: Host) -> str:
    """Return the host name of a service; an empty one is Avahi's own."""
    if service.addresses:
        return f"koi-{_dashed(service.addresses[0])}.{DOMAIN}"
    return f"{family_name(host.name, service.family)}.{DOMAIN}" if service.family else ""


def family_name(host_name: str, family: int) -> str:
    """Return the host name that has only this host's addresses of a family: ``koi-box-ipv4``."""
    start, end = f"koi-{host_name}", f"-ipv{family}"
    kept = start.encode()[: LONGEST_LABEL - len(end)].decode(errors="ignore")
    return f"{kept}{end}"


def _addresses(
    record: HostName, indexes: Sequence[int], name: str, host: Host
) -> Iterator[AddressEntry]:
    """Yield the addresses of a host name: those of the record, or this host's own."""
    for index in indexes if record.addresses else ():
        yield from (AddressEntry(index, name, address) for address in record.addresses)
    for own in host.addresses if not record.addresses else ():
        is_wanted = record.family in (None, ip_address(own.address).version)
        if is_wanted and (indexes == [EVERY] or own.interface in indexes):
            yield AddressEntry(own.interface, name, own.address)


def _dashed(address: str) -> str:
    """Return an address in letters, digits and hyphens."""
    return ip_address(address).exploded.replace(".", "-").replace(":", "-")
