"""Cuts the stream of a connection into messages, and reads the signals that are subscribed to.

A unit that starts and stops causes dozens of signals, of which only the latest values count. So
the header of a signal, which has the same bytes for all signals of one object, is read once and
kept with its subscriptions. Of all PropertiesChanged of an object that come in one read, the
last is read first, and earlier ones only for properties that the last did not have.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import field
from struct import unpack_from
from typing import Any

from koi_agent.bus.messages import Flag, Header, Message, MessageType, decode, extent
from koi_agent.bus.property_filter import PropertyFilter
from koi_agent.bus.reader import LITTLE, UNREADABLE, unmarshal
from koi_agent.core.frozen import frozen

__all__ = ["Changed", "PropertyFilter", "Signal", "SignalReader", "Subscription"]

HEADERS_KEPT = 16384
"""Headers that are kept. After that all are dropped and read again."""
HEADER_LIMIT = 1024
"""Bytes of a header that is kept. Other clients can send paths of any length."""

PROPERTIES = "org.freedesktop.DBus.Properties"
OWNER_CHANGED = ("org.freedesktop.DBus", "NameOwnerChanged")
SIGNAL, CALL = int(MessageType.SIGNAL), int(MessageType.CALL)
NO_REPLY = int(Flag.NO_REPLY_EXPECTED)
CALLS_KEPT = 1024
"""Headers of calls that are kept."""


@frozen()
class Signal:
    """A signal with all its values; a variant is replaced by its content."""

    path: str
    interface: str
    member: str
    body: list[Any]


@frozen()
class Changed:
    """The latest values of an object's properties, from all PropertiesChanged of one read.

    Only properties of the subscription's filter that were in one of these signals are here.
    """

    path: str
    interface: str
    values: Mapping[str, Any]


@frozen(kw_only=True, eq=False)
class Subscription:
    """The signals that one part of the agent wants.

    ``sender``   the well-known or unique name; only its present owner's signals count
    ``rules``    match rules for the bus. Every signal is matched here as well, because other
                 clients can send us any signal directly
    ``members``  interface and member of the signals that are delivered whole
    ``filters``  the properties that are read from PropertiesChanged
    ``accepts``  returns whether PropertiesChanged of an object path is read
    ``deliver``  gets the signals of one read at once, up to the next of another subscription
    """

    sender: str
    rules: tuple[str, ...]
    deliver: Callable[[Sequence[Signal | Changed]], None]
    members: frozenset[tuple[str, str]] = frozenset()
    filters: tuple[PropertyFilter, ...] = ()
    accepts: Callable[[str], bool] = field(default=lambda _path: True)


Item = tuple[Subscription, Signal | Changed]
Batch = list[Item]
Span = tuple[int, int, int, int]
"""Offsets of a message: start, end of its header's fields, start and end of its body."""


@frozen()
class Route:
    """The header of a signal, and the subscriptions that get such signals."""

    header: Header
    subscriptions: tuple[Subscription, ...]


class SignalReader:
    """Reads what a connection receives; ``bad`` counts messages that could not be read.

    ``droppable`` returns whether a call that expects no reply need not be read. It is asked once
    for all such calls of one read.
    """

    def __init__(self, headers_kept: int = HEADERS_KEPT) -> None:
        self.bad = 0
        self.droppable: Callable[[Header], bool] = lambda _header: False
        self._headers_kept = headers_kept
        self._data = bytearray()
        self._routes: dict[bytes, Route | None] = {}
        self._calls: dict[bytes, Header] = {}
        self._owners: dict[Subscription, str] = {}
        self._pending: dict[tuple[str, Subscription, PropertyFilter], list[Span]] = {}

    def set_owner(self, subscription: Subscription, owner: str) -> None:
        """Deliver the subscription's signals from this unique name only; from none for ""."""
        self._owners[subscription] = owner
        self._routes.clear()

    def remove(self, subscription: Subscription) -> None:
        """Stop delivering to the subscription."""
        self._owners.pop(subscription, None)
        self._routes.clear()

    def feed(self, received: bytes | memoryview) -> tuple[Batch, list[Message]]:
        """Return the signals and the other messages that are complete now.

        Raises ``BadInput`` if the stream is not D-Bus: no later byte can be trusted.
        """
        data = self._data
        data += received
        batch: Batch = []
        messages: list[Message] = []
        end = 0
        dropped: dict[bytes, bool] = {}
        for span in self._spans():
            end = span[3]
            try:
                if data[span[0] + 1] != SIGNAL:
                    if not self._drops(span, dropped):
                        messages.append(self._message(span))
                elif route := self._route(span):
                    self._add_signal(route, span, batch)
            except UNREADABLE:
                self.bad += 1
        self._read_pending(batch)
        del data[:end]
        return batch, messages

    def _spans(self) -> Iterator[Span]:
        data, start, size = self._data, 0, len(self._data)
        while size - start >= 16:
            fields, begin, end = extent(data, start)
            if end > size:
                return
            yield start, fields, begin, end
            start = end

    def _message(self, span: Span) -> Message:
        start, fields, begin, end = span
        data = self._data
        return Message(self._header(start, fields), bytes(data[begin:end]), data[start])

    def _drops(self, span: Span, known: dict[bytes, bool]) -> bool:
        start, fields = span[:2]
        if self._data[start + 1] != CALL or not self._data[start + 2] & NO_REPLY:
            return False
        array = bytes(self._data[start + 16 : fields])
        found = known.get(array)
        if found is None:
            found = known[array] = self.droppable(self._header(start, fields))
        return found

    def _header(self, start: int, fields: int) -> Header:
        """Read a header; a flood of calls has few different ones."""
        data = self._data
        order, kind, flags, _, _, serial, _ = unpack_from("<4BIII", data, start)
        if kind != CALL or order != LITTLE or fields - start > HEADER_LIMIT:
            return decode(data, start)
        array = bytes(data[start + 16 : fields])
        known = self._calls.get(array)
        if known is None:
            if len(self._calls) >= CALLS_KEPT:
                self._calls.clear()
            known = self._calls[array] = decode(data, start)
        return Header(
            kind=kind,
            flags=flags,
            serial=serial,
            path=known.path,
            interface=known.interface,
            member=known.member,
            destination=known.destination,
            sender=known.sender,
            signature=known.signature,
        )

    def _add_signal(self, route: Route, span: Span, batch: Batch) -> None:
        start, _, begin, end = span
        data = self._data
        if route.header.interface == PROPERTIES and data[start] == LITTLE:
            self._postpone(route, span)
            return
        self._read_pending(batch)
        for subscription, item in _read_now(route, bytes(data[begin:end]), data[start]):
            batch.append((subscription, item))
            if isinstance(item, Signal) and (item.interface, item.member) == OWNER_CHANGED:
                self._owner_changed(item)

    def _owner_changed(self, signal: Signal) -> None:
        """Deliver signals of the new owner, which may be in the same read."""
        name, _, owner = signal.body
        for subscription in self._owners:
            if subscription.sender == name:
                self.set_owner(subscription, owner)

    def _postpone(self, route: Route, span: Span) -> None:
        """Keep where a PropertiesChanged is; the object that changed last is at the end."""
        for subscription in route.subscriptions:
            for wanted in subscription.filters:
                if self._data.startswith(wanted.prefix, span[2]):
                    key = (route.header.path, subscription, wanted)
                    spans = self._pending.pop(key, [])
                    spans.append(span)
                    self._pending[key] = spans

    def _read_pending(self, batch: Batch) -> None:
        for (path, subscription, wanted), spans in self._pending.items():
            if values := self._latest_values(wanted, spans):
                batch.append((subscription, Changed(path, wanted.interface, values)))
        self._pending.clear()

    def _latest_values(self, wanted: PropertyFilter, spans: Sequence[Span]) -> Mapping[str, Any]:
        values: dict[str, Any] = {}
        for _, _, begin, end in reversed(spans):
            try:
                values = wanted.search(bytes(self._data[begin:end])) | values
            except UNREADABLE:
                self.bad += 1
            if len(values) == len(wanted):
                break
        return values

    def _route(self, span: Span) -> Route | None:
        start, fields = span[:2]
        if fields - start > HEADER_LIMIT:
            return self._find_route(decode(self._data, start))
        array = bytes(self._data[start + 16 : fields])
        try:
            return self._routes[array]
        except KeyError:
            if len(self._routes) >= self._headers_kept:
                self._routes.clear()
            route = self._routes[array] = self._find_route(decode(self._data, start))
            return route

    def _find_route(self, header: Header) -> Route | None:
        subscriptions = tuple(
            subscription
            for subscription, owner in self._owners.items()
            if owner and owner == header.sender and _matches(subscription, header)
        )
        return Route(header, subscriptions) if subscriptions else None


def _matches(subscription: Subscription, header: Header) -> bool:
    if header.interface == PROPERTIES:
        changed = (header.member, header.signature) == ("PropertiesChanged", "sa{sv}as")
        return changed and bool(subscription.filters) and subscription.accepts(header.path)
    return (header.interface, header.member) in subscription.members


def _read_now(route: Route, body: bytes, endian: int) -> Iterator[Item]:
    header = route.header
    if header.interface != PROPERTIES:
        values = unmarshal(header.signature, body, endian=endian)
        signal = Signal(header.path, header.interface, header.member, values)
        yield from ((subscription, signal) for subscription in route.subscriptions)
        return
    for subscription in route.subscriptions:
        for wanted in subscription.filters:
            if found := wanted.read(body, endian):
                yield subscription, Changed(header.path, wanted.interface, found)
