"""The static records of names, as systemd-resolved reads them: a JSON array of objects.

A bad object affects no other, and an unknown field makes an object bad. A name with an address has
no records of other types: clients learn that these do not exist.
"""

import json
from collections import Counter
from collections.abc import Iterable, Sequence
from ipaddress import ip_address
from typing import Final

from koi_agent.capabilities.dns.records import Name
from koi_agent.capabilities.dns.reverse import Pointers, reverse_name
from koi_agent.core.key import Key

A: Final = 1
PTR: Final = 12
AAAA: Final = 28
NO_NAMES: Final = "[]\n"
"""A file without records. systemd-resolved logs an error if there is no file."""


class Items:
    """The items of all names. A change costs the same for any number of other names."""

    def __init__(self) -> None:
        self._names: dict[Key, Sequence[Name]] = {}
        self._items: Counter[str] = Counter()
        self._pointers = Pointers()

    def put(self, owner: Key, names: Sequence[Name]) -> bool:
        """Set the names of an owner; return True if the text may change."""
        before = self._names.get(owner, ())
        if tuple(before) == tuple(names):
            return False
        for name in before:
            self._count(name, -1)
        for name in names:
            self._count(name, 1)
        self._pointers.put(owner, names)
        if names:
            self._names[owner] = tuple(names)
        else:
            self._names.pop(owner, None)
        return True

    def _count(self, name: Name, one: int) -> None:
        for address in name.addresses or name.local_addresses:
            item = _address(name.name, address)
            self._items[item] += one
            if not self._items[item]:
                del self._items[item]

    def text(self) -> str:
        """Return the content of the file, in a stable order."""
        reverse = (_pointer(address, name) for address, name in self._pointers.all())
        return _array(sorted((*self._items, *reverse)))


def _array(items: Iterable[str]) -> str:
    lines = ",\n".join(items)
    return f"[\n{lines}\n]\n" if lines else NO_NAMES


def _address(name: str, text: str) -> str:
    kind = AAAA if ip_address(text).version == 6 else A
    return json.dumps({"key": {"name": name, "type": kind}, "address": text})


def _pointer(text: str, name: str) -> str:
    key = {"name": reverse_name(text), "type": PTR}
    return json.dumps({"key": key, "name": name})
