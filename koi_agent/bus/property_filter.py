"""A few properties picked out of a PropertiesChanged without unmarshalling the rest."""

from collections.abc import Callable, Mapping
from struct import calcsize, unpack_from
from typing import Any

from koi_agent.bus.messages import LITTLE, U32, plain, unmarshal
from koi_agent.core.errors import BadInput

SHORT = 16 * 1024
"""Bytes of a body in which strings can't be taken for a key: next to a key stands a variant's
signature, and where that is the length of another string, the string is longer than this."""


DICT = b"a{"
"""What the signature of a dict inside a value holds. A brace alone also is a byte of many a
number: of every twelfth message of systemd."""


class PropertyFilter:
    """Properties of one interface, and where their values stand in PropertiesChanged.

    A dict entry begins at a multiple of 8 with its key as a string and then its variant's
    signature, with no gap. Where something else may look like one (a dict inside a value, a
    very long string, the same bytes twice) the message is unmarshalled to the end instead. A
    value of another type than was asked for is as good as absent.
    """

    def __init__(self, interface: str, keys: Mapping[str, str]) -> None:
        self.interface = interface
        self.prefix = U32.pack(len(interface)) + interface.encode() + b"\0"
        self._keys = [
            (name, kind, READERS[kind], _needle(name, kind)) for name, kind in keys.items()
        ]

    def __len__(self) -> int:
        return len(self._keys)

    def read(self, data: bytearray, start: int, begin: int, end: int) -> dict[str, Any]:
        """Pick the values out of the message at ``start`` with its body at ``begin``.

        Raises ``BadInput`` or what reading past the end raises.
        """
        values: dict[str, Any] = {}
        if end - begin > SHORT or data.find(DICT, begin, end) >= 0:
            return self._read_exactly(data, begin, end)
        for name, _, reader, needle in self._keys:
            found = data.find(needle, begin, end)
            if found < 0:
                continue
            if (found - start) % 8 or data.find(needle, found + 1, end) >= 0:
                return self._read_exactly(data, begin, end)
            values[name] = reader(data, start, found + len(needle), end)
        return values

    def _read_exactly(self, data: bytearray, begin: int, end: int) -> dict[str, Any]:
        return self.read_whole(bytes(data[begin:end]), endian=LITTLE)

    def read_whole(self, body: bytes, *, endian: int) -> dict[str, Any]:
        """Unmarshal a body to the end, and keep what was asked for; raises ``BadInput``."""
        interface, changed, _ = unmarshal("sa{sv}as", body, endian=endian)
        if interface != self.interface:
            return {}
        return {
            name: plain(changed[name])
            for name, kind, *_ in self._keys
            if name in changed and changed[name].signature == kind
        }


def _needle(name: str, kind: str) -> bytes:
    return U32.pack(len(name)) + b"%b\0%c%b\0" % (name.encode(), len(kind), kind.encode())


Reader = Callable[[bytearray, int, int, int], Any]


def _read_bytes(data: bytearray, start: int, at: int, end: int) -> bytes:
    at += -(at - start) % 4
    stop = at + 4 + unpack_from("<I", data, at)[0]
    if stop > end:
        raise BadInput("a value reaches past its message")
    return bytes(data[at + 4 : stop])


def _read_text(data: bytearray, start: int, at: int, end: int) -> str:
    return _read_bytes(data, start, at, end).decode()


def _read_number(code: str) -> Reader:
    width = calcsize(code)

    def read(data: bytearray, start: int, at: int, end: int) -> Any:
        at += -(at - start) % width
        if at + width > end:
            raise BadInput("a value reaches past its message")
        return unpack_from(code, data, at)[0]

    return read


def _read_truth(data: bytearray, start: int, at: int, end: int) -> bool:
    return bool(_read_unsigned(data, start, at, end))


_read_unsigned = _read_number("<I")

READERS: Mapping[str, Reader] = {
    "s": _read_text,
    "o": _read_text,
    "ay": _read_bytes,
    "b": _read_truth,
    "y": _read_number("<B"),
    "n": _read_number("<h"),
    "q": _read_number("<H"),
    "i": _read_number("<i"),
    "u": _read_unsigned,
    "x": _read_number("<q"),
    "t": _read_number("<Q"),
    "d": _read_number("<d"),
}
"""The types that can be picked."""
