"""The entries of one group of Avahi's, as they are added: no more than a group may have."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Any, Final

from koi_agent.bus.client import CallError
from koi_agent.core.instance import Standing
from koi_agent.core.plan.records import HostName, Record, Service
from koi_agent.host.addresses import HostAddress

AVAHI: Final = "org.freedesktop.Avahi"
EVERY: Final = -1
"""Avahi's AVAHI_IF_UNSPEC and AVAHI_PROTO_UNSPEC."""
NO_REVERSE: Final = 16
"""AVAHI_PUBLISH_NO_REVERSE: the address has a name already, this host's own."""
MOST_ENTRIES: Final = 32
"""Avahi's entries-per-entry-group-max."""
FULL: Final = f"avahi takes {MOST_ENTRIES} entries of an instance"
DOMAIN: Final = "local"

Ask = Callable[..., Awaitable[list[Any]]]
Added = tuple[Standing, str]
"""How adding a record went, and why not better."""


@dataclass(frozen=True, slots=True)
class Host:
    """This host: the name that Avahi has given it, and its addresses."""

    name: str = ""
    addresses: tuple[HostAddress, ...] = ()


class Entries:
    """What was added since a group was empty; ``ask`` calls the group. All raise ``CallError``."""

    def __init__(self, ask: Ask) -> None:
        self.count = 0
        self._ask = ask
        self._addresses: set[tuple[int, str, str]] = set()

    async def add(self, record: Record, name: str, host: Host) -> Added:
        """Add a record under a name."""
        if isinstance(record, Service):
            return await self._add_service(record, name)
        return await self._add_host(record, name, host)

    async def _add_service(self, service: Service, name: str) -> Added:
        target = await self._target(service)
        if target is None or self.count >= MOST_ENTRIES:
            return Standing.REFUSED, FULL
        body = [EVERY, EVERY, 0, name, service.type, DOMAIN, target, service.port, text_of(service)]
        await self._ask("AddService", "iiussssqaay", *body)
        self.count += 1
        missed = [await self._add_subtype(service, name, one) for one in service.subtypes]
        return Standing.WANTED, "; ".join(filter(None, missed))

    async def _add_subtype(self, service: Service, name: str, subtype: str) -> str:
        """Add what narrows a type down; returns why not, which costs nothing else."""
        if self.count >= MOST_ENTRIES:
            return f"without {subtype}: {FULL}"
        body = [EVERY, EVERY, 0, name, service.type, DOMAIN, f"{subtype}._sub.{service.type}"]
        try:
            await self._ask("AddServiceSubtype", "iiussss", *body)
        except CallError as error:
            return f"without {subtype}: {error}"
        self.count += 1
        return ""

    async def _target(self, service: Service) -> str | None:
        """Name the host of a service: Avahi's own, or one for the address that it is at.

        Nothing is returned where there is no room for that address.
        """
        if not service.addresses:
            return ""
        name = f"koi-{_dashed(service.addresses[0])}.{DOMAIN}"
        there = [await self._add_address(EVERY, name, address) for address in service.addresses]
        return name if any(there) else None

    async def _add_host(self, record: HostName, name: str, host: Host) -> Added:
        if name.lower() == host.name.lower():
            return Standing.REFUSED, "that is this host's own name"
        if record.addresses:
            places = [(EVERY, address) for address in record.addresses]
        else:
            places = [(one.interface, one.address) for one in host.addresses]
        if not places:
            return Standing.HELD, "this host has no address that others reach"
        for interface, address in places:
            await self._add_address(interface, f"{name}.{DOMAIN}", address)
        return Standing.WANTED, ""

    async def _add_address(self, interface: int, name: str, address: str) -> bool:
        """Add an address once; tells whether it is there, or there was no more room."""
        if (interface, name, address) in self._addresses:
            return True
        if self.count >= MOST_ENTRIES:
            return False
        await self._ask("AddAddress", "iiuss", interface, EVERY, NO_REVERSE, name, address)
        self._addresses.add((interface, name, address))
        self.count += 1
        return True


def text_of(service: Service) -> list[bytes]:
    return [f"{key}={value}".encode() for key, value in service.txt]


def _dashed(address: str) -> str:
    """Spell an address in letters, digits and hyphens."""
    return ip_address(address).exploded.replace(".", "-").replace(":", "-")
