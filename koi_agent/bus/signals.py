"""The stream of a connection cut into messages, at the least cost a signal can have.

A unit that starts and stops makes dozens of signals and all that matters is the last word of
each. So a signal's header, which is the same to the byte for all signals of one object, is
read once and remembered with what is to be done about it; of PropertiesChanged only the keys
somebody asked for are picked, and only out of the last message of an object in one read.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from struct import unpack_from
from typing import Any

from koi_agent.bus.wire import (
    LITTLE,
    U32,
    UNREADABLE,
    Header,
    Kind,
    body_start,
    decode,
    frame_length,
    plain,
    unmarshal,
)
from koi_agent.core.errors import BadInput

ROUTES_KEPT = 16384
"""Headers remembered; past that all are forgotten and read anew."""

PROPERTIES = "org.freedesktop.DBus.Properties"


@dataclass(frozen=True, slots=True)
class Signal:
    """A signal, whole."""

    path: str
    interface: str
    member: str
    body: Sequence[Any]


@dataclass(frozen=True, slots=True)
class Changed:
    """What the last PropertiesChanged of an object and interface in one read said."""

    path: str
    interface: str
    values: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Message:
    """A method call or a reply: its header, and its body still marshalled."""

    header: Header
    body: bytes
    endian: int

    def values(self) -> list[Any]:
        """Unmarshal the body; raises ``BadInput``."""
        return unmarshal(self.header.signature, self.body, endian=self.endian)


class Pick:
    """Properties of one interface, and where their values stand in PropertiesChanged.

    A dict entry is its key as a string and then its variant's signature, with no gap: as
    strings hold no NUL, no value can look like one.
    """

    def __init__(self, interface: str, keys: Mapping[str, str]) -> None:
        self.interface = interface
        self.prefix = U32.pack(len(interface)) + interface.encode() + b"\0"
        self._keys = [
            (
                name,
                kind,
                U32.pack(len(name)) + b"%b\0%c%b\0" % (name.encode(), len(kind), kind.encode()),
            )
            for name, kind in keys.items()
        ]

    def read(self, data: bytearray, start: int, begin: int, end: int) -> dict[str, Any]:
        """Pick the values out of the message at ``start`` with its body at ``begin``."""
        values = {}
        for name, kind, needle in self._keys:
            found = data.find(needle, begin, end)
            if found >= 0:
                values[name] = READERS[kind](data, start, found + len(needle), end)
        return values or self.read_whole(bytes(data[begin:end]), endian=LITTLE)

    def read_whole(self, body: bytes, *, endian: int) -> dict[str, Any]:
        """Unmarshal a body to the end, and keep what was asked for."""
        interface, changed, _ = unmarshal("sa{sv}as", body, endian=endian)
        if interface != self.interface:
            return {}
        return {name: plain(changed[name]) for name, *_ in self._keys if name in changed}


def _read_bytes(data: bytearray, start: int, at: int, end: int) -> bytes:
    at += -(at - start) % 4
    stop = at + 4 + unpack_from("<I", data, at)[0]
    if stop > end:
        raise BadInput("a value reaches past its message")
    return bytes(data[at + 4 : stop])


def _read_text(data: bytearray, start: int, at: int, end: int) -> str:
    return _read_bytes(data, start, at, end).decode()


def _read_number(width: int, code: str) -> Callable[[bytearray, int, int, int], int]:
    def read(data: bytearray, start: int, at: int, _end: int) -> int:
        number: int = unpack_from(code, data, at + -(at - start) % width)[0]
        return number

    return read


READERS: dict[str, Callable[[bytearray, int, int, int], Any]] = {
    "s": _read_text,
    "o": _read_text,
    "ay": _read_bytes,
    "u": _read_number(4, "<I"),
    "b": _read_number(4, "<I"),
    "t": _read_number(8, "<Q"),
}


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Subscription:
    """What one part of the agent wants of the bus's signals.

    ``rules`` go to the bus; the rest is checked here again, as anybody may send us a signal:
    only those of ``sender``'s present owner count. ``picks`` are read of objects that
    ``wants`` (a path) accepts, ``members`` are signals taken whole. ``deliver`` gets all of
    one read at once, in order.
    """

    sender: str
    rules: tuple[str, ...]
    deliver: Callable[[Sequence[Signal | Changed]], None]
    members: frozenset[tuple[str, str]] = frozenset()
    picks: tuple[Pick, ...] = ()
    wants: Callable[[str], bool] = field(default=lambda _path: True)


Route = tuple[Subscription, Header]
Item = tuple[Subscription, Signal | Changed]
Batch = list[Item]


class SignalReader:
    """Cuts what a connection receives; ``bad`` counts messages that could not be read."""

    def __init__(self) -> None:
        self.bad = 0
        self._data = bytearray()
        self._routes: dict[bytes, Route | None] = {}
        self._subscriptions: dict[Subscription, str] = {}
        self._last: dict[tuple[str, Pick], tuple[Route, int, int, int]] = {}

    def believe(self, subscription: Subscription, owner: str) -> None:
        """Take the subscription's signals from this unique name only ("" for nobody)."""
        self._subscriptions[subscription] = owner
        self._routes.clear()

    def forget(self, subscription: Subscription) -> None:
        """Take no more signals for the subscription."""
        self._subscriptions.pop(subscription, None)
        self._routes.clear()

    def feed(self, chunk: bytes) -> tuple[Batch, list[Message]]:
        """Take what was received; returns signals and other messages.

        Raises ``BadInput`` where the stream itself can't be cut any more.
        """
        data = self._data
        data += chunk
        batch: Batch = []
        messages: list[Message] = []
        end = 0
        for start, end in self._frames():
            try:
                self._take(start, end, batch, messages)
            except BadInput:
                self.bad += 1
        self._flush(batch)
        del data[:end]
        return batch, messages

    def _frames(self) -> Iterator[tuple[int, int]]:
        data, start = self._data, 0
        while len(data) - start >= 16:
            end = start + frame_length(data, start)
            if end > len(data):
                return
            yield start, end
            start = end

    def _take(self, start: int, end: int, batch: Batch, messages: list[Message]) -> None:
        data = self._data
        if data[start + 1] != Kind.SIGNAL:
            messages.append(self._message(start, end))
            return
        route = self._route(start)
        if route is None:
            return
        begin = body_start(data, start)
        if route[1].interface == PROPERTIES and data[start] == LITTLE:
            self._note(route, (start, begin, end))
            return
        self._flush(batch)
        batch.extend(self._whole(route, bytes(data[begin:end]), data[start]))

    def _whole(self, route: Route, body: bytes, endian: int) -> Iterator[Item]:
        subscription, header = route
        if header.interface != PROPERTIES:
            values = unmarshal(header.signature, body, endian=endian)
            yield subscription, Signal(header.path, header.interface, header.member, values)
            return
        for pick in subscription.picks:
            if picked := pick.read_whole(body, endian=endian):
                yield subscription, Changed(header.path, pick.interface, picked)

    def _message(self, start: int, end: int) -> Message:
        data = self._data
        return Message(decode(data, start), bytes(data[body_start(data, start) : end]), data[start])

    def _note(self, route: Route, span: tuple[int, int, int]) -> None:
        """Remember where an object's last word stands; earlier words need no reading."""
        for pick in route[0].picks:
            if self._data.startswith(pick.prefix, span[1]):
                self._last[route[1].path, pick] = (route, *span)

    def _flush(self, batch: Batch) -> None:
        for (_, pick), ((subscription, header), start, begin, end) in self._last.items():
            try:
                values = pick.read(self._data, start, begin, end)
            except (*UNREADABLE, BadInput):
                self.bad += 1
                continue
            batch.append((subscription, Changed(header.path, pick.interface, values)))
        self._last.clear()

    def _route(self, start: int) -> Route | None:
        order = "<I" if self._data[start] == LITTLE else ">I"
        end = start + 16 + unpack_from(order, self._data, start + 12)[0]
        array = bytes(self._data[start + 16 : end])
        try:
            return self._routes[array]
        except KeyError:
            if len(self._routes) >= ROUTES_KEPT:
                self._routes.clear()
            route = self._routes[array] = self._find(decode(self._data, start))
            return route

    def _find(self, header: Header) -> Route | None:
        for subscription, owner in self._subscriptions.items():
            if owner == header.sender and _wanted(subscription, header):
                return subscription, header
        return None


def _wanted(subscription: Subscription, header: Header) -> bool:
    if header.interface == PROPERTIES:
        return bool(subscription.picks) and subscription.wants(header.path)
    return (header.interface, header.member) in subscription.members
