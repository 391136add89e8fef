"""The names at a Koi daemon: one IPv4 address for each name, in the zone of the daemon.

The daemon stores other addresses, but does not answer with them. So they are not sent.
"""

from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from ipaddress import IPv4Address, IPv4Network
from typing import Final

from koi_agent.bus.address import address
from koi_agent.bus.end import ends_for_good
from koi_agent.capabilities.dns.records import Name
from koi_agent.core.contracts import Report
from koi_agent.core.domain_names import canonical, parse
from koi_agent.core.errors import BadInput
from koi_agent.core.frozen import frozen
from koi_agent.core.instance import RecordState
from koi_agent.core.key import Key
from koi_agent.core.text import printable
from koi_agent.host.koi_daemon.daemon import Daemon
from koi_agent.host.koi_daemon.decisions import Bodies
from koi_agent.host.koi_daemon.kinds import DNS, Outcome, text_of
from koi_agent.host.koi_daemon.session import Entry, KoiSession, Plan, Recorded, keeping
from koi_agent.host.koi_daemon.settings import KoiSettings

STATUS: Final = "/v1/dns/status"
SERVED: Final = tuple(map(IPv4Network, ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16")))
"""The networks whose addresses the daemon returns (RFC 1918)."""
NO_SERVICES: Final = "a Koi daemon gets its address, not its services"
ONLY_HERE: Final = Outcome(RecordState.HELD, "only this host reaches it")
OFF: Final = Outcome(RecordState.HELD, "the DNS server of the Koi daemon does not run")
NOT_SERVED: Final = Outcome(
    RecordState.REFUSED, "a Koi daemon answers private IPv4 addresses only, and it has none"
)


@frozen(kw_only=True)
class Zone:
    """The zone of a daemon. ``is_served`` is False if its DNS server does not run."""

    name: str
    is_served: bool


async def look(daemon: Daemon) -> Zone:
    """Return the zone of a daemon; raise ``ProviderLost``."""
    document = await daemon.get(STATUS)
    name = document.get("zone") if isinstance(document, dict) else None
    if not isinstance(name, str):
        raise daemon.lost(f"its response to {STATUS} has no zone")
    try:
        return Zone(name=canonical(parse(name)), is_served=document.get("running") is True)
    except BadInput as bad:
        raise daemon.lost(f"its zone is not valid: {printable(name, 300)}") from bad


def plan(names: Mapping[Key, Sequence[Name]], zone: Zone, ttl: int, recorded: Recorded) -> Plan:
    """Return the entries of names. A name has the address that it had, or else the first one."""
    holders: dict[str, dict[str, Key]] = {}
    for owner in sorted(names):
        for name in names[owner]:
            if not _refusal(name, zone):
                of_name = holders.setdefault(name.name, {})
                of_name.update({one: owner for one in _usable(name) if one not in of_name})
    chosen = {
        name: _chosen(name, addresses, ttl, recorded(name)) for name, addresses in holders.items()
    }
    entries = {
        owner: [
            _entry(one, chosen[one.name], holders[one.name])
            if (refusal := _refusal(one, zone)) is None
            else Entry(title=one.title, outcome=refusal)
            for one in of_owner
        ]
        for owner, of_owner in names.items()
    }
    bodies = {name: _body(name, one, ttl) for name, one in chosen.items()}
    return Plan(bodies=bodies, entries=entries)


def _chosen(name: str, addresses: Iterable[str], ttl: int, recorded: Bodies) -> str:
    """Return the address that was sent already, otherwise the first one."""
    return min(addresses, key=lambda one: _body(name, one, ttl) not in recorded)


def _body(name: str, address_: str, ttl: int) -> str:
    return text_of({"name": name, "ip": address_, "ttl": ttl})


def _entry(name: Name, sent: str, holders: Mapping[str, Key]) -> Entry:
    """Return the entry of a name, at the address that is ``sent``."""
    if sent not in name.addresses:
        reason = f"a Koi daemon has one address for each name: {sent}, of {holders[sent]}"
        return Entry(title=name.title, outcome=Outcome(RecordState.HELD, reason))
    notes = [NO_SERVICES] if name.services else []
    if len(name.addresses) > 1:
        notes.insert(0, f"a Koi daemon has one address for each name: {sent}")
    return Entry(title=name.title, key=name.name, note="; ".join(notes))


def _refusal(name: Name, zone: Zone) -> Outcome | None:
    """Return why a name is not sent, None if it is."""
    if not zone.is_served:
        return OFF
    if not name.name.endswith(f".{zone.name}"):
        reason = f"it is not in the zone of the Koi daemon, {zone.name}"
        return Outcome(RecordState.REFUSED, reason)
    if not name.addresses:
        return ONLY_HERE
    return None if _usable(name) else NOT_SERVED


def _usable(name: Name) -> Sequence[str]:
    """Return the addresses that a daemon returns, in the order of the record."""
    return [one for one in name.addresses if ":" not in one and _is_served(IPv4Address(one))]


def _is_served(address_: IPv4Address) -> bool:
    return any(address_ in network for network in SERVED)


@asynccontextmanager
async def sending(
    settings: KoiSettings, ttl: int, report: Report
) -> AsyncIterator[KoiSession[Name]]:
    """Send names until the context is left; raise ``ProviderLost``."""

    async def planner(
        daemon: Daemon, names: Mapping[Key, Sequence[Name]], recorded: Recorded
    ) -> Plan:
        return plan(names, await look(daemon), ttl, recorded)

    async def ends() -> bool:
        return await ends_for_good(address(settings.scope))

    async with keeping(settings, DNS, planner, report, ends) as session:
        yield session
