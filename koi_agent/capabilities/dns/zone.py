"""The zones: the answers of a DNS server for the names of all instances.

The resource records follow from the names alone, never from the order of changes. A change costs
the same for any number of other names. Resource records are plain text; ``messages`` has their
binary form.
"""

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from ipaddress import ip_address
from typing import Final, NamedTuple

from koi_agent.capabilities.dns.records import Name, Service, service_label
from koi_agent.capabilities.dns.reverse import Pointers, reverse_name, zone_name
from koi_agent.core.frozen import frozen
from koi_agent.core.key import Key
from koi_agent.core.plan.full_names import Domains
from koi_agent.core.reach.addresses import Network

ANY: Final = "ANY"
NEGATIVE_TTL: Final = 5
"""Maximum seconds for which a resolver caches that a name does not exist."""
# As in RFC 6303 section 3: the server has no name that all readers of the zone can resolve.
SERVER: Final = "localhost."
SERVICE_TYPES: Final = "_services._dns-sd._udp"
"""The name at which a domain lists the types of its services (RFC 6763 section 9)."""
_MAILBOX: Final = "hostmaster.invalid."
_REFRESH, _RETRY, _EXPIRE = 300, 60, 86_400
_DOT: Final = re.compile(r"(?<!\\)\.")
"""A dot between two labels: a dot inside a label is escaped."""


class Rr(NamedTuple):
    """A resource record: full names end in a dot; ``text`` is its data as in a zone file."""

    name: str
    ttl: int
    type: str
    text: str


@frozen(kw_only=True)
class Answer:
    """The answer to a question about a name inside the zone.

    Without ``records``, the name has no record of the type, or ``exists`` is False.
    """

    records: tuple[Rr, ...] = ()
    exists: bool = True


class Zone:
    """One zone, below ``domain``, which has no final dot. ``serial`` is set from outside."""

    def __init__(self, domain: str, ttl: int) -> None:
        self.domain = domain
        self.serial = 1
        self._ttl = ttl
        self._apex = f"{domain}."
        self._records: Counter[Rr] = Counter()
        self._sets: dict[tuple[str, str], dict[str, Rr]] = {}
        self._types: dict[str, set[str]] = {}
        self._below: Counter[str] = Counter()  # number of names with records at or below a name

    def replace(self, before: Iterable[Rr], after: Iterable[Rr]) -> bool:
        """Replace records of one owner; return True if those of the zone change."""
        old, new = Counter(before), Counter(after)
        changed = [self._remove(rr) for rr in (old - new).elements()]
        changed += [self._add(rr) for rr in (new - old).elements()]
        return any(changed)

    def _add(self, rr: Rr) -> bool:
        self._records[rr] += 1
        if self._records[rr] > 1:
            return False
        self._sets.setdefault((rr.name, rr.type), {})[rr.text] = rr
        types = self._types.setdefault(rr.name, set())
        if not types:
            self._below.update(_ancestors(rr.name))
        types.add(rr.type)
        return True

    def _remove(self, rr: Rr) -> bool:
        self._records[rr] -= 1
        if self._records[rr]:
            return False
        del self._records[rr]
        of_type = self._sets[rr.name, rr.type]
        del of_type[rr.text]
        if not of_type:
            del self._sets[rr.name, rr.type]
            self._types[rr.name].discard(rr.type)
        if not self._types[rr.name]:
            del self._types[rr.name]
            for name in _ancestors(rr.name):
                self._below[name] -= 1
                if not self._below[name]:
                    del self._below[name]
        return True

    def soa(self) -> Rr:
        """Return the SOA record with the present serial."""
        minimum = min(self._ttl, NEGATIVE_TTL)
        numbers = f"{self.serial} {_REFRESH} {_RETRY} {_EXPIRE} {minimum}"
        return Rr(self._apex, self._ttl, "SOA", f"{SERVER} {_MAILBOX} {numbers}")

    def _own(self) -> tuple[Rr, Rr]:
        return self.soa(), Rr(self._apex, self._ttl, "NS", SERVER)

    def lookup(self, name: str, kind: str) -> Answer:
        """Return the answer for a name of the zone, in lower case and with a final dot."""
        own = self._own() if name == self._apex else ()
        found = [rr for rr in own if kind in (ANY, rr.type)]
        types = sorted(self._types.get(name, ())) if kind == ANY else [kind]
        for one in types:
            of_type = self._sets.get((name, one), {})
            found += [of_type[text] for text in sorted(of_type)]
        return Answer(records=tuple(found), exists=bool(own) or name in self._below)

    def records(self) -> Iterator[Rr]:
        """Yield all records in a stable order; SOA and NS come first."""
        yield from self._own()
        for name in sorted(self._types):
            for kind in sorted(self._types[name]):
                of_type = self._sets[name, kind]
                yield from (of_type[text] for text in sorted(of_type))


def records_of(name: Name, domain: str, ttl: int) -> Iterator[Rr]:
    """Yield the records of a name inside ``domain``."""
    full = f"{name.name}."
    for address in name.addresses:
        yield Rr(full, ttl, _address_type(address), address)
    for service in name.services:
        yield from _of_service(name.name, service, domain, ttl)


def _of_service(name: str, service: Service, domain: str, ttl: int) -> Iterator[Rr]:
    """Yield the records of a DNS-SD service (RFC 6763 sections 4 to 9)."""
    kind = f"{service.type}.{domain}."
    label = service_label(name, domain, service).replace(".", r"\.")
    title = f"{label}.{kind}"
    yield Rr(f"{SERVICE_TYPES}.{domain}.", ttl, "PTR", kind)
    yield Rr(kind, ttl, "PTR", title)
    for subtype in service.subtypes:
        yield Rr(f"{subtype}._sub.{kind}", ttl, "PTR", title)
    yield Rr(title, ttl, "SRV", f"0 0 {service.port} {name}.")
    strings = " ".join(_quoted(f"{key}={value}") for key, value in service.txt)
    yield Rr(title, ttl, "TXT", strings or '""')


class Zones:
    """The zones of all domains and of ``networks``, and the names of all owners."""

    def __init__(self, domains: Domains, ttl: int, networks: Iterable[Network] = ()) -> None:
        reverse = map(zone_name, networks)
        self._domains = Domains(main=domains.main, extra=(*domains.extra, *reverse))
        self._ttl = ttl
        self._zones = {domain: Zone(domain, ttl) for domain in self._domains.all}
        self._names: dict[Key, tuple[Name, ...]] = {}
        self._pointers = Pointers()

    def put(self, owner: Key, names: Sequence[Name]) -> Sequence[Zone]:
        """Set the names of an owner; return the zones whose records change.

        A name outside the domains, as before a reload, is in no zone.
        """
        before = self._names.pop(owner, ())
        addresses = {one for name in (*before, *names) for one in name.own_addresses}
        old = [*self._records(before), *self._reverse(addresses)]
        self._pointers.put(owner, [name for name in names if name.addresses])
        new = [*self._records(names), *self._reverse(addresses)]
        if names:
            self._names[owner] = tuple(names)
        return self._replaced(old, new)

    def _records(self, names: Iterable[Name]) -> Iterator[tuple[str, Rr]]:
        """Yield the records of names, each with the domain of its zone."""
        for name in names:
            if domain := self._domains.of(name.name):
                yield from ((domain, rr) for rr in records_of(name, domain, self._ttl))

    def _reverse(self, addresses: Iterable[str]) -> Iterator[tuple[str, Rr]]:
        """Yield the records that lead from addresses to names, each with the domain of its zone."""
        for address in addresses:
            name, reverse = self._pointers.at(address), reverse_name(address)
            if name and (domain := self._domains.of(reverse)):
                yield domain, Rr(f"{reverse}.", self._ttl, "PTR", f"{name}.")

    def _replaced(
        self, old: Iterable[tuple[str, Rr]], new: Iterable[tuple[str, Rr]]
    ) -> Sequence[Zone]:
        """Replace records, and return the zones that change."""
        before, after = _by_domain(old), _by_domain(new)
        return [
            self._zones[domain]
            for domain in sorted(before.keys() | after.keys())
            if self._zones[domain].replace(before.get(domain, ()), after.get(domain, ()))
        ]

    def all(self) -> Sequence[Zone]:
        """Return all zones."""
        return [*self._zones.values()]

    def of(self, name: str) -> Zone | None:
        """Return the zone of a name, which is in lower case with or without a final dot."""
        return self._zones.get(self._domains.of(name.removesuffix(".")))


def _by_domain(records: Iterable[tuple[str, Rr]]) -> Mapping[str, Sequence[Rr]]:
    found: dict[str, list[Rr]] = {}
    for domain, rr in records:
        found.setdefault(domain, []).append(rr)
    return found


def _ancestors(name: str) -> Iterator[str]:
    """Yield a name and the names above it, except the root."""
    yield name
    for dot in _DOT.finditer(name):
        if above := name[dot.end() :]:
            yield above


def _address_type(address: str) -> str:
    return "AAAA" if ip_address(address).version == 6 else "A"


def _quoted(text: str) -> str:
    """Return a character string in the syntax of a zone file (RFC 1035 section 5.1)."""
    escaped = (
        chr(byte) if 32 <= byte < 127 and byte not in b'"\\' else f"\\{byte:03}"
        for byte in text.encode()
    )
    return f'"{"".join(escaped)}"'
