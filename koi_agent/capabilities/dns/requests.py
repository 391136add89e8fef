"""The request of an instance to DNS: its name, at the addresses where it is reached."""

from collections.abc import Hashable, Iterator, Sequence
from contextlib import suppress
from typing import Final

from koi_agent.capabilities.dns.records import Name, Service, service_label
from koi_agent.core.errors import BadInput
from koi_agent.core.frozen import frozen
from koi_agent.core.instance import Instance, PortMetadata, PortSource, RecordState
from koi_agent.core.key import Key
from koi_agent.core.metadata import service_types
from koi_agent.core.metadata.txt import merge_txt
from koi_agent.core.plan.families import family_of
from koi_agent.core.plan.full_names import Domains, full_name
from koi_agent.core.plan.records import Decision, Subject
from koi_agent.core.plan.requests import Award, Policy, Requests
from koi_agent.core.reach.addresses import parse
from koi_agent.core.reach.local import NotFromHere, targets
from koi_agent.core.reach.model import Endpoint, Reachability, places, reachability
from koi_agent.core.reach.network import HostNetwork

ABOUT: Final = "DNS name"
LONGEST_LABEL: Final = 63
"""Bytes of a label of a DNS name (RFC 1035 section 2.3.4)."""
MOST_SERVICES: Final = 32
"""Maximum number of services of one instance, which may have thousands of ports."""


@frozen(kw_only=True)
class NameRequest:
    """A request for a full name; requests of one ``family`` share it. Fields are those of Name."""

    name: str
    family: tuple[str, ...]
    addresses: tuple[str, ...]
    local_addresses: tuple[str, ...]
    own_addresses: tuple[str, ...]
    services: tuple[Service, ...]

    @property
    def contest(self) -> Hashable:
        """Names compete as a whole."""
        return self.name

    def record(self, owner: Key, award: Award) -> Name:
        """Build the record."""
        return Name(
            owner=owner,
            name=award.name,
            addresses=self.addresses,
            local_addresses=self.local_addresses,
            own_addresses=self.own_addresses,
            services=self.services,
        )

    def decision(self, award: Award) -> Decision:
        """Describe the name and its addresses, or the refusal."""
        if not award.name:
            return _decision(RecordState.REFUSED, award.reason)
        where = ", ".join(self.addresses) or f"{', '.join(self.local_addresses)}, on this host only"
        return _decision(RecordState.WANTED, f"{award.name} at {where}")


def requests_of(instance: Instance, policy: Policy, domains: Domains) -> Requests:
    """Return the requests of an instance that has opted in."""
    try:
        name = full_name(instance, domains, policy)
    except BadInput as bad:
        return Requests(decisions=(_decision(RecordState.REFUSED, str(bad)),))
    reach = reachability(instance, policy.network)
    kept = _kept(reach.endpoints)
    addresses = _sorted(one for endpoint in kept for one in _addresses(endpoint, policy.network))
    local = () if addresses else _sorted(_local_addresses(instance, policy.network))
    if not addresses and not local:
        return Requests(decisions=(_nowhere(reach, policy.network),))
    services = tuple(sorted(_services(instance, kept))) if addresses else ()
    too_long = {one for one in services if _is_too_long(one, name, domains)}
    request = NameRequest(
        name=name,
        family=family_of(instance),
        addresses=addresses,
        local_addresses=local,
        own_addresses=_own(addresses or local, policy.network),
        services=tuple(one for one in services if one not in too_long),
    )
    decisions = tuple(_refused_service(one) for one in services if one in too_long)
    return Requests(requests=(request,), decisions=decisions)


def _is_too_long(service: Service, name: str, domains: Domains) -> bool:
    return len(service_label(name, domains.of(name), service)) > LONGEST_LABEL


def _refused_service(service: Service) -> Decision:
    """Return the decision on a service whose name in DNS would not be valid."""
    return Decision(
        subject=Subject.SERVICE,
        about=f"service {service.type}",
        state=RecordState.REFUSED,
        reason=f"the name of the instance has no room in a label of {LONGEST_LABEL} bytes",
    )


def _decision(state: RecordState, reason: str) -> Decision:
    return Decision(subject=Subject.HOST_NAME, about=ABOUT, state=state, reason=reason)


def _nowhere(reach: Reachability, network: HostNetwork) -> Decision:
    """Explain a name without an address."""
    if reach.endpoints:
        reason = "has no address on a network" if network.is_known else "has no known addresses"
        return _decision(RecordState.HELD, f"this host {reason}")
    held, reason = RecordState.HELD, "no port of it is known"
    for port in reach.unreachable:
        held = RecordState.HELD if port.is_held else RecordState.REFUSED
        reason = f"port {port.port}: {port.reason}"
        if held is RecordState.HELD:
            break
    return _decision(held, reason)


def _kept(endpoints: Sequence[Endpoint]) -> Sequence[Endpoint]:
    """Return the endpoints at this host's addresses, or else those at the instance's own.

    All ports share one name, and an own address would not answer at a published port.
    """
    of_host = [one for one in endpoints if not one.addresses]
    return of_host or endpoints


def _addresses(endpoint: Endpoint, network: HostNetwork) -> Iterator[str]:
    """Yield the addresses at which other hosts reach an endpoint."""
    if endpoint.addresses:
        yield from endpoint.addresses
    else:
        yield from (place.address for place in places(endpoint, network))


def _local_addresses(instance: Instance, network: HostNetwork) -> Iterator[str]:
    """Yield the addresses at which this host reaches an instance that no other host reaches.

    An address of its cluster has other ports than its own addresses, and counts without these only.
    """
    found: dict[bool, list[str]] = {False: [], True: []}
    for mapping in instance.ports:
        with suppress(NotFromHere):
            reached = targets(instance, mapping, network)
            is_shared = mapping.source is PortSource.CLUSTER
            found[is_shared] += [target.address for target in reached]
    yield from found[False] or found[True]


def _sorted(addresses: Iterator[str]) -> tuple[str, ...]:
    """Return addresses in order, without those that are valid on one link only."""
    parsed = {address for one in addresses if (address := parse(one)) is not None}
    usable = (one for one in parsed if not one.is_link_local)
    return tuple(map(str, sorted(usable, key=lambda one: (one.version, int(one)))))


def _own(addresses: Sequence[str], network: HostNetwork) -> tuple[str, ...]:
    """Return the addresses that are not this host's."""
    pairs = ((text, parse(text)) for text in addresses)
    return tuple(
        text
        for text, address in pairs
        if network.is_known
        and address
        and not address.is_loopback
        and network.with_address(address) is None
    )


def _services(instance: Instance, endpoints: Sequence[Endpoint]) -> Iterator[Service]:
    """Yield a service for each endpoint. The first service of a type is the main one."""
    metadata = instance.metadata
    http = service_types.http_port(instance)
    seen: set[str] = set()
    for endpoint in endpoints[:MOST_SERVICES]:
        port = endpoint.inside, endpoint.protocol
        own = dict(metadata.ports).get(port, PortMetadata())
        kind = service_types.resolve(*port, metadata, http)
        subtypes = metadata.subtypes if own.subtypes is None else own.subtypes
        yield Service(
            type=kind,
            port=endpoint.port,
            inside=endpoint.inside if kind in seen else 0,
            txt=merge_txt(own.txt, metadata.txt, "")[0],
            subtypes=subtypes or (),
        )
        seen.add(kind)
