"""A few properties read out of a PropertiesChanged, the others skipped."""

from collections.abc import Mapping
from typing import Any

from koi_agent.bus import signatures
from koi_agent.bus.marshalling import U32
from koi_agent.bus.reader import (
    LITTLE,
    PLAIN,
    Form,
    array_extent,
    read_signature,
    reader,
    skip,
)
from koi_agent.core.errors import BadInput

SEARCH_LIMIT = 16 * 1024
"""Bytes of a body that is searched. Next to a key stands the signature of its variant. Only in
a longer body can the length of another string have the same bytes as that signature."""
DICT = b"a{"
"""The signature of a dictionary inside a value. A brace alone is not enough: it is also a byte
of a number in every twelfth message of systemd."""


class PropertyFilter:
    """Properties of one interface, by name, with the signatures that they must have.

    Of a property with another signature nothing is read.
    """

    def __init__(self, interface: str, keys: Mapping[str, str]) -> None:
        self.interface = interface
        self.prefix = U32.pack(len(interface)) + interface.encode() + b"\0"
        self._keys = dict(keys)
        self._searched = [
            (name, _entry_start(name, kind), reader(kind, _value_form(LITTLE)))
            for name, kind in keys.items()
        ]

    def __len__(self) -> int:
        return len(self._keys)

    def search(self, body: bytes) -> dict[str, Any]:
        """Find the properties in a little-endian body that begins with ``prefix``.

        A dict entry begins at a multiple of 8, with its key and then the signature of its
        variant, with no gap: these bytes are searched. Where they may be something else (in a
        long body, with a dictionary inside a value, if they are there twice) the body is read
        entry by entry. Raises one of ``reader.UNREADABLE``.
        """
        if len(body) > SEARCH_LIMIT or DICT in body:
            return self.read(body)
        values: dict[str, Any] = {}
        for name, start, read_value in self._searched:
            found = body.find(start)
            if found < 0:
                continue
            if found % 8 or body.find(start, found + 1) >= 0:
                return self.read(body)
            values[name], _ = read_value(body, found + len(start))
        return values

    def read(self, body: bytes, endian: int = LITTLE) -> dict[str, Any]:
        """Read a body of any interface entry by entry; raises one of ``reader.UNREADABLE``."""
        form = _value_form(endian)
        read_text = reader("s", PLAIN[endian])
        interface, at = read_text(body, 0)
        if interface != self.interface:
            return {}
        values: dict[str, Any] = {}
        at, end = array_extent(8, form.order)(body, at)
        while at < end:
            name, at = read_text(body, at + (-at & 7))
            signature, at = read_signature(body, at)
            if self._keys.get(name) == signature:
                values[name], at = reader(signature, form)(body, at)
            else:
                (kind,) = signatures.parse(signature)
                at = skip(kind, form, body, at)
        if at != end:
            raise BadInput("the properties end inside a value")
        return values


def _value_form(endian: int) -> Form:
    """Return how values are read that are in a variant, in an entry, in an array."""
    return PLAIN[endian]._replace(depth=3)


def _entry_start(name: str, kind: str) -> bytes:
    return U32.pack(len(name)) + b"%b\0%c%b\0" % (name.encode(), len(kind), kind.encode())
