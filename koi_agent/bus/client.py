"""Calls and subscriptions on one connection, and a bus that is reconnected after a loss."""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import AbstractContextManager, asynccontextmanager, suppress
from time import monotonic
from typing import Any, Never

from koi_agent.bus.calls import BUS, BUS_PATH, CALL_TIMEOUT, PROPERTIES, Call, answer
from koi_agent.bus.connection import DEFAULT_TIMING, MessageSocket, Timing, open_socket
from koi_agent.bus.errors import BusLost, CallError
from koi_agent.bus.messages import Flag, Header, Message, MessageType, encode, marshal
from koi_agent.bus.signals import Changed, Signal, Subscription
from koi_agent.core import message_ids
from koi_agent.core.backoff import pauses

__all__ = [
    "BUS",
    "BUS_PATH",
    "CALL_TIMEOUT",
    "CallError",
    "Connection",
    "ReconnectingBus",
    "connected",
]

log = logging.getLogger(__name__)

# The flag and the answers of RequestName that are used.
DO_NOT_QUEUE = 4
PRIMARY_OWNER, ALREADY_OWNER = 1, 4


class Connection:
    """A live connection. Once it is gone, all its methods raise ``BusLost``."""

    def __init__(self, opened: MessageSocket, address: str) -> None:
        self.name = opened.name
        self.address = address
        self._socket = opened
        self._subscriptions: dict[Subscription, str | None] = {}
        self._owners = Subscription(
            sender=BUS,
            rules=(),
            members=frozenset({(BUS, "NameOwnerChanged")}),
            deliver=self._owner_changed,
        )
        opened.reader.set_owner(self._owners, BUS)

    @property
    def closed(self) -> bool:
        return self._socket.closed

    async def call(
        self,
        target: tuple[str, str, str],
        member: str,
        signature: str = "",
        body: Sequence[Any] = (),
        *,
        within: float = CALL_TIMEOUT,
        flags: int = 0,
    ) -> list[Any]:
        """Call a method of ``target`` (destination, path, interface); returns its values.

        Raises as ``values`` does.
        """
        call = Call(target, member, signature, body)
        return await self.values(call, within=within, flags=flags)

    async def values(
        self, call: Call, *, within: float = CALL_TIMEOUT, flags: int = 0
    ) -> list[Any]:
        """Return the values of a call; a variant is replaced by its content.

        Raises ``CallError`` for an error reply and for values of another type than the call has,
        ``BusLost``, or ``TimeoutError`` after ``within`` seconds.
        """
        (reply,) = await self.call_all([call], within=within, flags=flags)
        if isinstance(reply, CallError):
            raise reply
        return reply

    async def call_all(
        self, calls: Sequence[Call], *, within: float = CALL_TIMEOUT, flags: int = 0
    ) -> list[list[Any] | CallError]:
        """Call methods without waiting in between; returns their values or errors, in order.

        Raises ``BusLost``, or ``TimeoutError`` if not all are answered after ``within`` seconds.
        """
        serials = [self._socket.next_serial() for _ in calls]
        frames = {
            serial: call.frame(serial, flags) for serial, call in zip(serials, calls, strict=True)
        }
        replies = await self._socket.ask_all(frames, within=within)
        return [answer(reply, call.returns) for call, reply in zip(calls, replies, strict=True)]

    async def get(self, destination: str, path: str, interface: str, name: str) -> Any:
        """Return the value of a property; raises as ``call`` does."""
        target = (destination, path, PROPERTIES)
        return (await self.values(Call(target, "Get", "ss", (interface, name), "v")))[0]

    def send(self, header: Header, body: bytes = b"") -> None:
        """Send a signal or a reply; the body is marshalled already. Raises ``BusLost``."""
        header.serial = self._socket.next_serial()
        self._socket.write(encode(header, body))

    def together(self) -> AbstractContextManager[None]:
        """Return a block that awaits nothing; what is sent in it goes to the bus at its end."""
        return self._socket.writer.together()

    @property
    def writable(self) -> bool:
        """True if ``drain`` would return at once."""
        return self._socket.writable

    async def drain(self) -> None:
        """Wait until the bus has read most of what was sent, or the connection is gone."""
        await self._socket.drain()

    async def wait_closed(self) -> str:
        """Wait until the connection is gone; returns the reason."""
        return await self._socket.wait_closed()

    async def wait_for(self, changed: asyncio.Event) -> None:
        """Wait until an event is set, and clear it; raise ``BusLost`` if the bus is gone."""
        await self._socket.wait_for(changed)

    async def request_name(self, name: str) -> bool:
        """Request a well-known name; returns False if another connection owns it."""
        (result,) = await self._bus("RequestName", "su", (name, DO_NOT_QUEUE))
        return result in (PRIMARY_OWNER, ALREADY_OWNER)

    async def unix_user(self, name: str) -> int:
        """Return the uid of the connection with this name; raises as ``call`` does."""
        (uid,) = await self._bus("GetConnectionUnixUser", "s", (name,))
        return int(uid)

    @asynccontextmanager
    async def subscribed(self, subscription: Subscription) -> AsyncIterator[str]:
        """Receive the signals of a subscription; yields the sender's unique name, "" for none.

        When the sender's name gets another owner, the subscription gets NameOwnerChanged of
        the bus, and then the signals of the new owner.
        """
        self._subscriptions[subscription] = None
        matched: list[str] = []
        try:
            await self._add_match(_owner_rule(subscription.sender), matched)
            owner = await self._owner(subscription.sender)
            # NameOwnerChanged may have come before the answer was processed, and is newer.
            if self._subscriptions[subscription] is None:
                self._set_owner(subscription, owner)
            for rule in subscription.rules:
                await self._add_match(rule, matched)
            yield self._subscriptions[subscription] or ""
        finally:
            del self._subscriptions[subscription]
            self._socket.reader.remove(subscription)
            self._remove_matches(matched)

    async def _add_match(self, rule: str, matched: list[str]) -> None:
        """Add a match rule, and note it unless the bus certainly refused it."""
        matched.append(rule)
        try:
            await self._bus("AddMatch", "s", (rule,))
        except CallError:
            matched.remove(rule)
            raise

    def _set_owner(self, subscription: Subscription, owner: str) -> None:
        self._subscriptions[subscription] = owner
        self._socket.reader.set_owner(subscription, owner)

    async def _owner(self, name: str) -> str:
        try:
            return str((await self._bus("GetNameOwner", "s", (name,)))[0])
        except CallError:
            return ""

    def _owner_changed(self, signals: Sequence[Signal | Changed]) -> None:
        for signal in signals:
            if not isinstance(signal, Signal):
                continue
            name, _, owner = signal.body
            for subscription in list(self._subscriptions):
                if subscription.sender == name:
                    self._set_owner(subscription, owner)
                    subscription.deliver([signal])

    def _remove_matches(self, rules: Sequence[str]) -> None:
        """Remove match rules, without waiting for replies, which would change nothing."""
        for rule in rules if not self._socket.closed else ():
            header = Header(
                kind=MessageType.CALL,
                flags=Flag.NO_REPLY_EXPECTED,
                path=BUS_PATH,
                interface=BUS,
                member="RemoveMatch",
                destination=BUS,
                signature="s",
            )
            with suppress(BusLost):
                self.send(header, marshal("s", (rule,)))

    async def _bus(self, member: str, signature: str, body: Sequence[Any]) -> list[Any]:
        return await self.call((BUS, BUS_PATH, BUS), member, signature, body)


def _owner_rule(name: str) -> str:
    return (
        f"type='signal',sender='{BUS}',interface='{BUS}',path='{BUS_PATH}',"
        f"member='NameOwnerChanged',arg0='{name}'"
    )


class ReconnectingBus:
    """A bus that is connected, and connected again whenever the connection is lost.

    ``on_call`` gets each method call with its connection, except those that expect no reply and
    are ``droppable``. ``reconnects`` counts connections after the first.
    """

    def __init__(
        self,
        address: str,
        on_call: Callable[[Connection, Message], None],
        timing: Timing = DEFAULT_TIMING,
        *,
        droppable: Callable[[Header], bool] = lambda _header: False,
    ) -> None:
        self.address = address
        self._droppable = droppable
        self._timing = timing
        self.reconnects = -1
        self._on_call = on_call
        self._connection: Connection | None = None
        self._connected = asyncio.Condition()

    async def run(self) -> Never:
        """Connect, and connect again whenever the connection is lost, until cancelled."""
        waits = self._retries()
        while True:
            began = monotonic()
            try:
                reason = await self._connect_once()
            except BusLost as lost:
                reason = str(lost)
            if monotonic() - began > self._timing.longest_retry:
                waits = self._retries()
            extra = message_ids.journal_fields(message_ids.MessageId.BUS_LOST)
            log.warning("bus %s: %s; trying again", self.address, reason, extra=extra)
            await asyncio.sleep(next(waits))

    def _retries(self) -> Iterator[float]:
        return pauses(self._timing.first_retry, self._timing.longest_retry)

    async def _connect_once(self) -> str:
        """Connect and wait until the connection is lost; returns the reason."""
        opened = await open_socket(self.address, self._dispatch, self._timing)
        opened.reader.droppable = self._droppable
        self.reconnects += 1
        try:
            self._connection = connection = Connection(opened, self.address)
            async with self._connected:
                self._connected.notify_all()
            return await connection.wait_closed()
        finally:
            self._connection = None
            opened.close()

    def _dispatch(self, message: Message) -> None:
        if self._connection:
            self._on_call(self._connection, message)

    async def connection(self) -> Connection:
        """Wait for a live connection; raises ``BusLost`` if it is lost again at once."""
        async with self._connected:
            await self._connected.wait_for(lambda: self._connection and not self._connection.closed)
        if self._connection is None:
            raise BusLost("the bus was lost again at once")
        return self._connection


@asynccontextmanager
async def connected(address: str, timing: Timing = DEFAULT_TIMING) -> AsyncIterator[Connection]:
    """Connect once, until the block is left; raises ``BusLost``."""
    opened = await open_socket(address, lambda _message: None, timing)
    try:
        yield Connection(opened, address)
    finally:
        opened.close()
