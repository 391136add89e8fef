"""Follows which names have an owner on the bus."""

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack

from koi_agent.bus.client import Connection
from koi_agent.bus.signals import Changed, Signal, Subscription


class Presence:
    """The owners of some names on the bus of a connection."""

    def __init__(self, link: Connection) -> None:
        self._link = link
        self._owners: dict[str, str] = {}
        self._changed = asyncio.Event()

    @property
    def owners(self) -> Mapping[str, str]:
        """The unique name of each owner, "" for a name without one."""
        return self._owners

    async def watch(self, stack: AsyncExitStack, name: str) -> None:
        """Follow a name until the stack is closed; raise as ``Connection.call`` does."""
        subscription = Subscription(
            sender=name, rules=(), members=frozenset(), deliver=self._on_signals
        )
        owner = await stack.enter_async_context(self._link.subscribed(subscription))
        self._owners.setdefault(name, owner)

    def _on_signals(self, signals: Sequence[Signal | Changed]) -> None:
        for signal in signals:
            if isinstance(signal, Signal) and signal.member == "NameOwnerChanged":
                name, _, owner = signal.body
                self._owners[str(name)] = str(owner)
                self._changed.set()

    async def change(self) -> None:
        """Wait until an owner has changed since the last call; raise ``BusLost``."""
        await self._link.wait_for(self._changed)
