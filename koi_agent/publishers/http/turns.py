"""Turns of the requests of each client, so that no client keeps the agent busy."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from time import monotonic
from typing import Final
from weakref import WeakValueDictionary

from koi_agent.core.ration import BURST, SHARE, Ration
from koi_agent.publishers.http.clients import Client, privileged

REQUEST_COST: Final = 0.0005
"""Seconds that a request takes besides its handler: to read it and to begin the response."""


class Turns:
    """Lets one request of a client be handled at a time; ``now`` returns the time in seconds.

    Requests of one client that wait for each other get a part of the agent's time (``SHARE``). A
    client that waits for each response before its next request never waits for this.
    """

    def __init__(self, now: Callable[[], float] = monotonic) -> None:
        self._now = now
        self._ration = Ration(SHARE, BURST, now, privileged())
        self._locks: WeakValueDictionary[Client, asyncio.Lock] = WeakValueDictionary()
        self._requests: Counter[Client] = Counter()

    @asynccontextmanager
    async def turn(self, client: Client) -> AsyncIterator[None]:
        """Wait for the turn of a request; it ends when the block is left."""
        self._requests[client] += 1
        try:
            async with self._locks.setdefault(client, asyncio.Lock()):
                if self._requests[client] > 1:
                    await asyncio.sleep(self._ration.pause(client))
                began = self._now()
                try:
                    yield
                finally:
                    self._ration.spend(client, self._now() - began + REQUEST_COST)
        finally:
            self._requests[client] -= 1
            if not self._requests[client]:
                del self._requests[client]
