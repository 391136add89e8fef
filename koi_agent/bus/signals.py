"""The stream of a connection cut into messages, at the least cost a signal can have.

A unit that starts and stops makes dozens of signals and all that matters is the last word of
each. So a signal's header, which is the same to the byte for all signals of one object, is
read once and remembered with what is to be done about it; of PropertiesChanged only the keys
somebody asked for are picked, out of the last message of an object in one read, and out of
earlier ones only what the last left out.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from koi_agent.bus.messages import Header, Message, MessageType, decode, extent
from koi_agent.bus.property_filter import PropertyFilter
from koi_agent.bus.reader import LITTLE, UNREADABLE, unmarshal

__all__ = ["Changed", "PropertyFilter", "Signal", "SignalReader", "Subscription"]

ROUTES_KEPT = 16384
"""Headers remembered; past that all are forgotten and read anew."""
LONGEST_KEPT = 1024
"""Bytes of a header that is remembered: a stranger's paths may be as long as he likes."""

PROPERTIES = "org.freedesktop.DBus.Properties"
SIGNAL = int(MessageType.SIGNAL)


@dataclass(frozen=True, slots=True)
class Signal:
    """A signal, whole."""

    path: str
    interface: str
    member: str
    body: list[Any]


@dataclass(frozen=True, slots=True)
class Changed:
    """The last word on the picked properties of an object and interface in one read.

    A property that no PropertiesChanged of that read told of is absent.
    """

    path: str
    interface: str
    values: Mapping[str, Any]


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
    picks: tuple[PropertyFilter, ...] = ()
    wants: Callable[[str], bool] = field(default=lambda _path: True)


Item = tuple[Subscription, Signal | Changed]
Batch = list[Item]
Span = tuple[int, int, int, int]
"""Where a message begins, where its header's fields end, where its body begins and ends."""


@dataclass(frozen=True, slots=True)
class Route:
    """A signal's header, and who wants such signals."""

    header: Header
    takers: tuple[Subscription, ...]


class SignalReader:
    """Cuts what a connection receives; ``bad`` counts messages that could not be read."""

    def __init__(self) -> None:
        self.bad = 0
        self._data = bytearray()
        self._routes: dict[bytes, Route | None] = {}
        self._subscriptions: dict[Subscription, str] = {}
        self._words: dict[tuple[str, Subscription, PropertyFilter], list[Span]] = {}

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
        for span in self._frames():
            end = span[3]
            try:
                if data[span[0] + 1] != SIGNAL:
                    messages.append(self._message(span))
                elif route := self._route(span):
                    self._take(route, span, batch)
            except UNREADABLE:
                self.bad += 1
        self._flush(batch)
        del data[:end]
        return batch, messages

    def _frames(self) -> Iterator[Span]:
        data, start, size = self._data, 0, len(self._data)
        while size - start >= 16:
            fields, begin, end = extent(data, start)
            if end > size:
                return
            yield start, fields, begin, end
            start = end

    def _take(self, route: Route, span: Span, batch: Batch) -> None:
        start, _, begin, end = span
        data = self._data
        if route.header.interface == PROPERTIES and data[start] == LITTLE:
            self._note(route, span)
            return
        self._flush(batch)
        batch.extend(_whole(route, bytes(data[begin:end]), data[start]))

    def _message(self, span: Span) -> Message:
        start, _, begin, end = span
        data = self._data
        return Message(decode(data, start), bytes(data[begin:end]), data[start])

    def _note(self, route: Route, span: Span) -> None:
        """Remember where an object's last words stand, the object spoken of last at the end."""
        for subscription in route.takers:
            for pick in subscription.picks:
                if self._data.startswith(pick.prefix, span[2]):
                    key = (route.header.path, subscription, pick)
                    spans = self._words.pop(key, [])
                    spans.append(span)
                    self._words[key] = spans

    def _flush(self, batch: Batch) -> None:
        for (path, subscription, pick), spans in self._words.items():
            if values := self._last_words(pick, spans):
                batch.append((subscription, Changed(path, pick.interface, values)))
        self._words.clear()

    def _last_words(self, pick: PropertyFilter, spans: Sequence[Span]) -> Mapping[str, Any]:
        values: dict[str, Any] = {}
        for _, _, begin, end in reversed(spans):
            try:
                values = pick.search(bytes(self._data[begin:end])) | values
            except UNREADABLE:
                self.bad += 1
            if len(values) == len(pick):
                break
        return values

    def _route(self, span: Span) -> Route | None:
        start, fields = span[:2]
        if fields - start > LONGEST_KEPT:
            return self._find(decode(self._data, start))
        array = bytes(self._data[start + 16 : fields])
        try:
            return self._routes[array]
        except KeyError:
            if len(self._routes) >= ROUTES_KEPT:
                self._routes.clear()
            route = self._routes[array] = self._find(decode(self._data, start))
            return route

    def _find(self, header: Header) -> Route | None:
        takers = tuple(
            subscription
            for subscription, owner in self._subscriptions.items()
            if owner and owner == header.sender and _wanted(subscription, header)
        )
        return Route(header, takers) if takers else None


def _wanted(subscription: Subscription, header: Header) -> bool:
    if header.interface == PROPERTIES:
        told = (header.member, header.signature) == ("PropertiesChanged", "sa{sv}as")
        return told and bool(subscription.picks) and subscription.wants(header.path)
    return (header.interface, header.member) in subscription.members


def _whole(route: Route, body: bytes, endian: int) -> Iterator[Item]:
    header = route.header
    if header.interface != PROPERTIES:
        values = unmarshal(header.signature, body, endian=endian)
        signal = Signal(header.path, header.interface, header.member, values)
        yield from ((subscription, signal) for subscription in route.takers)
        return
    for subscription in route.takers:
        for pick in subscription.picks:
            if picked := pick.read(body, endian):
                yield subscription, Changed(header.path, pick.interface, picked)
