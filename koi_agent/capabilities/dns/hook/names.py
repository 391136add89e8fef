"""The records of all names as the hook reads them: one JSON object, with a line for each name."""

import json
from base64 import b64encode
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from functools import lru_cache
from typing import Final

from koi_agent.capabilities.dns.messages import rdata
from koi_agent.capabilities.dns.records import Name
from koi_agent.capabilities.dns.reverse import Pointers, reverse_name
from koi_agent.capabilities.dns.zone import Rr, records_of
from koi_agent.core.domain_names import canonical, parse, upwards
from koi_agent.core.key import Key
from koi_agent.core.plan.full_names import Domains

VERSION: Final = 1
LONGEST_TTL: Final = 10
"""Maximum TTL in seconds. systemd-resolved keeps no answer of a hook, but its clients may."""
MOST_DOMAINS_TEXT: Final = 128 * 1024
"""Maximum number of characters of the domains, which the hook sends with one system call.

If the hook were killed within a message, the rest would be lost. Further addresses have no reverse
name.
"""
MOST_AT_ONCE: Final = 16
"""Records up to which a line is made at each change. The line of a service type has thousands."""
_ARPA: Final = ".arpa"


class HookNames:
    """The records of all names. A change costs the same for any number of other names."""

    def __init__(self, domains: Domains, ttl: int) -> None:
        self._domains = domains
        self._ttl = min(ttl, LONGEST_TTL)
        self._names: dict[Key, tuple[Name, ...]] = {}
        self._records: Counter[Rr] = Counter()
        self._sets: dict[str, dict[int, dict[str, None]]] = {}  # by name and type
        self._below: Counter[str] = Counter()  # how many names with records are at or below a name
        self._reverse = Pointers()
        self._lines = {domain: _line(domain, {}) for domain in domains.all}
        self._long: set[str] = set()  # names whose lines are made with the text

    def put(self, owner: Key, names: Sequence[Name]) -> bool:
        """Set the names of an owner; return True if the text may change.

        A name outside the domains, as before a reload, is left out.
        """
        before = self._names.get(owner, ())
        after = tuple(name for name in names if self._domains.of(name.name))
        if before == after:
            return False
        addresses = {one for name in (*before, *after) for one in name.own_addresses}
        old = [*self._of(before), *self._pointers(addresses)]
        self._reverse.put(owner, after)
        new = [*self._of(after), *self._pointers(addresses)]
        if after:
            self._names[owner] = after
        else:
            self._names.pop(owner, None)
        self._change(Counter(old), Counter(new))
        return True

    def _of(self, names: Iterable[Name]) -> Iterator[Rr]:
        """Yield the records of names, at addresses that this host reaches."""
        for name in names:
            reached = replace(name, addresses=name.addresses or name.local_addresses)
            yield from records_of(reached, self._domains.of(name.name), self._ttl)

    def _pointers(self, addresses: Iterable[str]) -> Iterator[Rr]:
        """Yield the reverse names of the addresses that belong to one instance."""
        for address in addresses:
            if name := self._reverse.at(address):
                yield Rr(f"{reverse_name(address)}.", self._ttl, "PTR", f"{name}.")

    def _change(self, old: Counter[Rr], new: Counter[Rr]) -> None:
        changed: set[str] = set()
        for rr, count in (old - new).items():
            self._records[rr] -= count
            if not self._records[rr]:
                del self._records[rr]
                changed.update(self._remove(rr))
        for rr, count in (new - old).items():
            if not self._records[rr]:
                changed.update(self._add(rr))
            self._records[rr] += count
        for name in changed:
            if sum(map(len, self._sets.get(name, {}).values())) > MOST_AT_ONCE:
                self._long.add(name)
            else:
                self._long.discard(name)
                self._renew_line(name)

    def _add(self, rr: Rr) -> Iterable[str]:
        """Add a record; return the names whose lines change."""
        name, kind, data = _encoded(rr)
        types = self._sets.setdefault(name, {})
        is_new = not types
        types.setdefault(kind, {})[data] = None
        return self._found(name, 1) if is_new else (name,)

    def _remove(self, rr: Rr) -> Iterable[str]:
        name, kind, data = _encoded(rr)
        types = self._sets[name]
        del types[kind][data]
        if not types[kind]:
            del types[kind]
        if types:
            return (name,)
        del self._sets[name]
        return self._found(name, -1)

    def _found(self, name: str, one: int) -> Sequence[str]:
        """Count a name at itself and at the names above it; return these."""
        above = [*self._upwards(name)]
        for each in above:
            _add(self._below, each, one)
        return above

    def _upwards(self, name: str) -> Iterator[str]:
        """Yield a name and the names above it up to its domain."""
        if name.endswith(_ARPA) and not self._domains.of(name):
            yield name
            return
        yield from (one for one in upwards(name) if self._domains.of(one))

    def text(self) -> str:
        """Return the content of the file. The order of the names has no meaning."""
        for name in self._long:
            self._renew_line(name)
        self._long.clear()
        return _text(self._ttl, self._filter(), self._lines.values())

    def _renew_line(self, name: str) -> None:
        if self._below[name] or name in self._domains.all:
            self._lines[name] = _line(name, self._sets.get(name, {}))
        else:
            self._lines.pop(name, None)

    def _filter(self) -> Sequence[str]:
        """Return the domains that only the hook answers."""
        found = [*self._domains.all]
        room = MOST_DOMAINS_TEXT
        for address, _ in self._reverse.all():
            reverse = reverse_name(address)
            room -= len(reverse) + 4
            if room < 0:
                break
            found.append(reverse)
        return found


def _add(counted: Counter[str], one: str, number: int) -> None:
    counted[one] += number
    if not counted[one]:
        del counted[one]


NO_NAMES: Final = '{"version":1,"ttl":5,"domains":[],\n"names":{\n}}\n'
"""A file after which systemd-resolved does not ask the hook."""


def _text(ttl: int, domains: Sequence[str], lines: Iterable[str]) -> str:
    head = _compact({"version": VERSION, "ttl": ttl, "domains": domains})
    names = ",\n".join(lines)
    return f'{head.removesuffix("}")},\n"names":{{\n{names}\n}}}}\n'


def _line(name: str, types: dict[int, dict[str, None]]) -> str:
    found = {str(kind): [*data] for kind, data in types.items()}
    return f"{_compact(name)}:{_compact(found)}"


def _compact(value: object) -> str:
    return json.dumps(value, separators=(",", ":"))


@lru_cache(maxsize=4096)
def _encoded(rr: Rr) -> tuple[str, int, str]:
    """Return the canonical name, the number of the type and the data in Base64."""
    kind, data = rdata(rr.type, rr.text)
    return canonical(parse(rr.name)), kind, b64encode(data).decode("ascii")
