"""The users of the connections that call.

The bus is asked once for each connection. The answer is kept until the connection is gone: a
unique name never gets another owner.
"""

import asyncio
import logging
from collections.abc import Callable, Sequence
from typing import Final

from koi_agent.bus.client import BUS, CallError, Connection
from koi_agent.bus.signals import Changed, Signal, Subscription
from koi_agent.bus.writer import BusLost

log = logging.getLogger(__name__)

LOST_NAMES: Final = (
    f"type='signal',sender='{BUS}',interface='{BUS}',member='NameOwnerChanged',arg2=''"
)
"""The signals of names that have no owner any longer."""
NO_OWNER: Final = "org.freedesktop.DBus.Error.NameHasNoOwner"
UNKNOWN_USER: Final = -1
"""The uid of callers whose user the bus does not know."""
CALLERS_LIMIT: Final = 8192
"""Callers whose users are kept; more than a bus has connections."""


class Callers:
    """The callers on one connection.

    ``known`` gets the name and the uid of a caller that ``uid`` did not know yet. ``lost`` gets
    the name of each connection that is gone.
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
        self._watching = asyncio.Event()
        group.create_task(self._watch(), name="watch callers")

    def uid(self, caller: str) -> int | None:
        """Return the uid of a caller, or ask the bus for it and return ``None``."""
        found = self._uids.get(caller)
        if found is None and caller not in self._lookups:
            lookup = self._look_up(caller)
            self._lookups[caller] = self._group.create_task(lookup, name=f"uid of {caller}")
        return found

    async def _watch(self) -> None:
        """Receive the names that are lost, as long as the connection lasts."""
        subscription = Subscription(
            sender=BUS,
            rules=(LOST_NAMES,),
            members=frozenset({(BUS, "NameOwnerChanged")}),
            deliver=self._names_changed,
        )
        try:
            async with self.connection.subscribed(subscription):
                self._watching.set()
                await self.connection.wait_closed()
        except (BusLost, CallError, TimeoutError) as error:
            log.debug("callers that are gone are not noticed: %s", error)
        finally:
            self._watching.set()

    async def _look_up(self, caller: str) -> None:
        # The bus reports a lost name only after it has the match rule. A name that is lost
        # before the bus answers has no owner.
        await self._watching.wait()
        try:
            uid = await self.connection.unix_user(caller)
        except BusLost:
            return
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
