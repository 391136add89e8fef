"""The records in the agent's file, found by name.

The file is one JSON object, whose lines have a fixed form. The first line has everything except the
names, and each name has its own line. So only the requested lines are parsed, and a bad line
affects only one name.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any, Final

from koi_agent.core.domain_names import canonical, parse, upwards
from koi_agent.core.errors import BadInput

VERSION: Final = 1
LARGEST: Final = 64 * 2**20
"""Maximum size of a file in bytes."""
MOST_TTL: Final = 3600
MOST_FOUND: Final = 1000
"""Names whose lines are cached: many are asked for two types, and often."""

Types = Mapping[str, Sequence[str]]
"""The data of the records of a name by the number of their type, each in Base64."""


class Records:
    """The records of one file. ``domains`` are those in which all names are known here.

    ``trouble`` is the reason why the file can't be used. The earlier domains are then kept.
    """

    def __init__(self, data: bytes) -> None:
        """Read the first line; raise ``BadInput``."""
        head = _head(data)
        self._start = data.index(b"{", data.index(b"\n"))
        self.trouble = ""
        self.ttl = _ttl(head.get("ttl"))
        self.domains = _domains(head.get("domains"))
        self._known = frozenset(self.domains)
        self._data = data
        self._found: dict[str, Types | None] = {}

    def unusable(self, trouble: str) -> "Records":
        """Return records with the same domains, none of which can be read."""
        found = Records(EMPTY)
        found.domains, found._known, found.trouble = self.domains, self._known, trouble
        return found

    def has(self, name: str) -> bool:
        """Return True if a canonical name is in one of the domains."""
        return any(one in self._known for one in upwards(name))

    def find(self, name: str) -> Types | None:
        """Return the records of a canonical name, None if it does not exist; raise ``BadInput``."""
        if self.trouble:
            raise BadInput(self.trouble)
        if name not in self._found:
            if len(self._found) >= MOST_FOUND:
                self._found.clear()
            self._found[name] = self._search(name)
        return self._found[name]

    def _search(self, name: str) -> Types | None:
        key = f"\n{json.dumps(name)}:".encode()
        at = self._data.find(key, self._start)
        if at < 0:
            return None
        end = self._data.find(b"\n", at + 1)
        return _types(self._data[at + len(key) : end].removesuffix(b","))


EMPTY: Final = b'{"version":1,"ttl":5,"domains":[],\n"names":{\n}}\n'
"""A file without names."""


def _head(data: bytes) -> dict[str, Any]:
    first, _, rest = data.partition(b"\n")
    if not rest.startswith(b'"names":{\n') or not data.endswith(b"}}\n"):
        raise BadInput("not complete")
    head = _object(first.removesuffix(b",") + b"}")
    if head.get("version") != VERSION:
        raise BadInput("of another version; restart koi-runtime and koi-runtime-hook")
    return head


def _object(text: bytes) -> dict[str, Any]:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise BadInput("not JSON") from error
    if not isinstance(value, dict):
        raise BadInput("not an object")
    return value


def _ttl(value: object) -> int:
    if not isinstance(value, int) or not 0 <= value <= MOST_TTL:
        raise BadInput("ttl: not a number of seconds")
    return value


def _domains(value: object) -> tuple[str, ...]:
    """Return canonical domains. systemd-resolved applies a bad filter to every name."""
    if not isinstance(value, list) or not all(isinstance(one, str) for one in value):
        raise BadInput("domains: not a list of names")
    found = tuple(canonical(parse(one)) for one in value)
    if not all(found):
        raise BadInput("domains: the root is not a domain of instances")
    return found


def _types(text: bytes) -> Types:
    found = _object(text)
    for of_type in found.values():
        if not isinstance(of_type, list) or not all(isinstance(one, str) for one in of_type):
            raise BadInput("a name has records that are not a list")
    return found
