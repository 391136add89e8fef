"""The entries of one entry group, within Avahi's limit for a group."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Any, Final

from koi_agent.bus.client import CallError
from koi_agent.capabilities.mdns.records import HostName, MdnsRecord, Service
from koi_agent.core.instance import RecordState
from koi_agent.host.addresses import HostAddress

AVAHI: Final = "org.freedesktop.Avahi"
EVERY: Final = -1
"""Avahi's AVAHI_IF_UNSPEC and AVAHI_PROTO_UNSPEC."""
NO_REVERSE: Final = 16
"""AVAHI_PUBLISH_NO_REVERSE: the address already has a name, this host's own."""
MOST_ENTRIES: Final = 32
"""Avahi's entries-per-entry-group-max."""
FULL: Final = f"avahi accepts {MOST_ENTRIES} entries for an instance"
DOMAIN: Final = "local"

Call = Callable[..., Awaitable[list[Any]]]
Added = tuple[RecordState, str]
"""State of a record after it was added, and the reason."""


@dataclass(frozen=True, slots=True)
class Host:
    """This host: its name in Avahi, and its addresses."""

    name: str = ""
    addresses: tuple[HostAddress, ...] = ()


class Entries:
    """The entries added since a reset; ``call`` calls the group. Methods raise ``CallError``."""

    def __init__(self, call: Call) -> None:
        self.count = 0
        self._call = call
        self._addresses: set[tuple[int, str, str]] = set()

    async def add(self, record: MdnsRecord, name: str, host: Host) -> Added:
        """Add a record under a name; return its state."""
        if isinstance(record, Service):
            return await self._add_service(record, name)
        return await self._add_host(record, name, host)

    async def _add_service(self, service: Service, name: str) -> Added:
        target = await self._target(service)
        if target is None or self.count >= MOST_ENTRIES:
            return RecordState.REFUSED, FULL
        body = [EVERY, EVERY, 0, name, service.type, DOMAIN, target, service.port, text_of(service)]
        await self._call("AddService", "iiussssqaay", *body)
        self.count += 1
        missed = [await self._add_subtype(service, name, one) for one in service.subtypes]
        return RecordState.WANTED, "; ".join(filter(None, missed))

    async def _add_subtype(self, service: Service, name: str, subtype: str) -> str:
        """Add a subtype; return why it is missing, an empty string if it is not."""
        if self.count >= MOST_ENTRIES:
            return f"without {subtype}: {FULL}"
        body = [EVERY, EVERY, 0, name, service.type, DOMAIN, f"{subtype}._sub.{service.type}"]
        try:
            await self._call("AddServiceSubtype", "iiussss", *body)
        except CallError as error:
            return f"without {subtype}: {error}"
        self.count += 1
        return ""

    async def _target(self, service: Service) -> str | None:
        """Return the host name of a service: Avahi's own, or one made from its address.

        Returns None if the group has no room for the address.
        """
        if not service.addresses:
            return ""
        name = f"koi-{_dashed(service.addresses[0])}.{DOMAIN}"
        added = [await self._add_address(EVERY, name, address) for address in service.addresses]
        return name if any(added) else None

    async def _add_host(self, record: HostName, name: str, host: Host) -> Added:
        if name.lower() == host.name.lower():
            return RecordState.REFUSED, "it is this host's own name"
        if record.addresses:
            targets = [(EVERY, address) for address in record.addresses]
        else:
            targets = [(one.interface, one.address) for one in host.addresses]
        if not targets:
            return RecordState.HELD, "this host has no address that other hosts reach"
        for interface, address in targets:
            await self._add_address(interface, f"{name}.{DOMAIN}", address)
        return RecordState.WANTED, ""

    async def _add_address(self, interface: int, name: str, address: str) -> bool:
        """Add an address once; return False if the group has no room for it."""
        if (interface, name, address) in self._addresses:
            return True
        if self.count >= MOST_ENTRIES:
            return False
        await self._call("AddAddress", "iiuss", interface, EVERY, NO_REVERSE, name, address)
        self._addresses.add((interface, name, address))
        self.count += 1
        return True


def text_of(service: Service) -> list[bytes]:
    return [f"{key}={value}".encode() for key, value in service.txt]


def _dashed(address: str) -> str:
    """Return an address in letters, digits and hyphens."""
    return ip_address(address).exploded.replace(".", "-").replace(":", "-")
