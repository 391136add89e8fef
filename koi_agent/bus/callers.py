"""The users of the connections that call.

The bus is asked once for each connection. The answer is kept until the connection is gone: a
unique name never gets another owner.
"""

import asyncio
import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from typing import Final

from koi_agent.bus.calls import Call
from koi_agent.bus.client import BUS, BUS_PATH, CallError, Connection, connected
from koi_agent.bus.connection import DEFAULT_TIMING
from koi_agent.bus.errors import BusLost
from koi_agent.bus.signals import Changed, Signal, Subscription
from koi_agent.core.backoff import pauses

log = logging.getLogger(__name__)

LOST_NAMES: Final = (
    f"type='signal',sender='{BUS}',interface='{BUS}',member='NameOwnerChanged',arg2=''"
)
"""The signals of names that no longer have an owner."""
NO_OWNER: Final = "org.freedesktop.DBus.Error.NameHasNoOwner"
STATS: Final = f"{BUS}.Debug.Stats"
"""An interface of dbus-daemon. The policy of the package allows the agent to call it."""
UNKNOWN_USER: Final = -1
"""The uid of callers whose user the bus does not know."""
CALLERS_LIMIT: Final = 8192
"""Callers whose users are kept; more than a bus has connections."""


class Callers:
    """The callers on one connection.

    ``known`` gets the name and the uid of a caller that ``uid`` did not know yet. ``lost`` gets
    the name of each connection that is gone.

    The bus is asked by a connection of its own. On the other one, a look-up would wait until the
    bus has read the replies before it.
    """

    def __init__(
        self,
        connection: Connection,
        group: asyncio.TaskGroup,
        known: Callable[[str, int], None],
        lost: Callable[[str], None],
    ) -> None:
        self.connection = connection
        self._group = group
        self._known = known
        self._lost = lost
        self._uids: dict[str, int] = {}
        self._lookups: dict[str, asyncio.Task[None]] = {}
        self._link: Connection | None = None
        self._linked = asyncio.Condition()
        self._watching = group.create_task(self._watch(), name="watch callers")

    def uid(self, caller: str) -> int | None:
        """Return the uid of a caller, or ask the bus for it and return ``None``."""
        found = self.known_uid(caller)
        if found is None and caller not in self._lookups:
            lookup = self._look_up(caller)
            self._lookups[caller] = self._group.create_task(lookup, name=f"uid of {caller}")
        return found

    def known_uid(self, caller: str) -> int | None:
        """Return the uid of a caller, ``None`` if the bus has not answered yet."""
        return self._uids.get(caller)

    async def unread(self, caller: str) -> int | None:
        """Return the bytes that the bus keeps until a caller reads them.

        All replies that were sent before count. Returns 0 for a bus that does not report this or is
        lost, and ``None`` if it does not answer.
        """
        stats = Call((BUS, BUS_PATH, STATS), "GetConnectionStats", "s", (caller,), "a{sv}")
        try:
            # On the connection of the replies, because the bus reads them before the question.
            (found,) = await self.connection.values(stats)
        except (BusLost, CallError) as error:
            log.debug("what %s has not read is not known: %s", caller, error)
            return 0
        except TimeoutError:
            return None
        size = found.get("OutgoingBytes")
        return size if isinstance(size, int) else 0

    def close(self) -> None:
        """End all tasks, because the connection of the callers is gone."""
        for task in (self._watching, *self._lookups.values()):
            task.cancel()

    async def _watch(self) -> None:
        """Receive the names that are lost, as long as the connection of the callers lasts."""
        subscription = Subscription(
            sender=BUS,
            rules=(LOST_NAMES,),
            members=frozenset({(BUS, "NameOwnerChanged")}),
            deliver=self._names_changed,
        )
        address = self.connection.address
        waits = _retries()
        while not self.connection.closed:
            try:
                async with connected(address) as link, link.subscribed(subscription):
                    await self._use(link)
                    waits = _retries()
                    await link.wait_closed()
            except (BusLost, CallError, TimeoutError) as error:
                log.debug("the users of callers are not known: %s", error)
            await asyncio.sleep(next(waits))

    async def _use(self, link: Connection) -> None:
        async with self._linked:
            self._link = link
            self._linked.notify_all()

    async def _look_up(self, caller: str) -> None:
        try:
            uid = await self._ask(caller)
        except (CallError, TimeoutError) as error:
            log.debug("the uid of %s is not known: %s", caller, error)
            if isinstance(error, CallError) and error.name == NO_OWNER:
                del self._lookups[caller]
                self._lost(caller)
                return
            uid = UNKNOWN_USER
        del self._lookups[caller]
        if len(self._uids) >= CALLERS_LIMIT:
            del self._uids[next(iter(self._uids))]
        self._uids[caller] = uid
        self._known(caller, uid)

    async def _ask(self, caller: str) -> int:
        """Return the uid of a caller; raises as ``Connection.call`` does, except ``BusLost``."""
        while True:
            # The bus reports a lost name only after it has the match rule. A name that is lost
            # before the bus answers has no owner.
            async with self._linked:
                await self._linked.wait_for(lambda: self._link and not self._link.closed)
            if self._link:
                with suppress(BusLost):
                    return await self._link.unix_user(caller)

    def _names_changed(self, signals: Sequence[Signal | Changed]) -> None:
        for signal in signals:
            if isinstance(signal, Signal):
                name, _, owner = signal.body
                if not owner and name.startswith(":"):
                    self._forget(name)

    def _forget(self, caller: str) -> None:
        self._uids.pop(caller, None)
        if lookup := self._lookups.pop(caller, None):
            lookup.cancel()
        self._lost(caller)


def _retries() -> Iterator[float]:
    return pauses(DEFAULT_TIMING.first_retry, DEFAULT_TIMING.longest_retry)
