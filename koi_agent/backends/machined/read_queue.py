"""The machines whose properties must be read, and whether what was read still counts."""

import asyncio
from typing import Final

from koi_agent.backends.machined.manager import READ_TOGETHER

MOST_WAITING: Final = 4096


class ReadQueue:
    """Object paths by the names of machines, in order. A signal outdates a reading under way."""

    def __init__(self) -> None:
        self._waiting: dict[str, str] = {}
        self._reading: set[str] = set()
        self._changed = asyncio.Event()

    def put(self, name: str, path: str) -> bool:
        """Add a machine to read; return False if too many wait, so that a list is needed."""
        self.discard(name)
        if len(self._waiting) >= MOST_WAITING:
            return False
        self._waiting[name] = path
        self._changed.set()
        return True

    def discard(self, name: str) -> None:
        """Stop reading a machine, and outdate a reading under way."""
        self._waiting.pop(name, None)
        self._reading.discard(name)

    def is_current(self, name: str) -> bool:
        """Return True if nothing has happened to a machine since it was taken."""
        return name in self._reading

    async def next(self) -> dict[str, str]:
        """Wait for machines and take some; those that were taken before are done."""
        self._reading = set()
        while not self._waiting:
            self._changed.clear()
            await self._changed.wait()
        taken = {name: self._waiting.pop(name) for name in list(self._waiting)[:READ_TOGETHER]}
        self._reading = set(taken)
        return taken
