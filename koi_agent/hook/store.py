"""The connections that the service manager keeps, so that none ends with the process."""

import time
from typing import Final

from koi_agent.host.descriptors import Manager

LINK: Final = "link"
"""The name of the connections that the service manager keeps."""
MOST: Final = 32
"""Connections that are kept at a time. systemd-resolved has some for questions that wait, and five
others. FileDescriptorStoreMax= is far greater: the service manager learns late of an end."""
MOST_PER_INTERVAL: Final = 32
PAUSE: Final = 0.01
"""Seconds between two attempts at the end of the process."""
INTERVAL: Final = 1.0
"""Seconds in which so many are given to the service manager at most: each costs it time, and users
can make systemd-resolved open thousands in a second. Those that last get their turn."""


class Store:
    """The connections that are kept, and those that wait for this, by their descriptors."""

    def __init__(self, manager: Manager) -> None:
        self._manager = manager
        self._kept: set[int] = set()
        self._waiting: dict[int, None] = {}
        self._given = 0
        self._began = 0.0

    @property
    def is_behind(self) -> bool:
        """True if there is work for ``fill`` without any other event."""
        return bool(self._waiting) and len(self._kept) < MOST

    def adopt(self, descriptor: int) -> None:
        """Add a connection that the service manager has kept from the process before."""
        self._kept.add(descriptor)

    def add(self, descriptor: int) -> None:
        """Add a connection."""
        self._waiting[descriptor] = None
        self.fill()

    def prefer(self, descriptor: int) -> None:
        """Move a connection before all others that wait."""
        if descriptor in self._waiting:
            del self._waiting[descriptor]
            self._waiting = {descriptor: None, **self._waiting}
            self.fill()

    def forget(self, descriptor: int) -> None:
        """Forget a connection that is about to be closed."""
        self._kept.discard(descriptor)
        self._waiting.pop(descriptor, None)

    def fill(self) -> None:
        """Send connections that wait to the service manager, within the bounds."""
        now = time.monotonic()
        if now >= self._began + INTERVAL:
            self._began, self._given = now, 0
        while self.is_behind and self._given < MOST_PER_INTERVAL and self._give_first():
            self._given += 1

    def give_all(self, patience: float) -> None:
        """Send all connections to the service manager, which has ``patience`` seconds to read."""
        deadline = time.monotonic() + patience
        while self._waiting and time.monotonic() < deadline:
            if not self._give_first():
                time.sleep(PAUSE)

    def _give_first(self) -> bool:
        """Send one connection; return False if the service manager does not read now."""
        descriptor = next(iter(self._waiting))
        if not self._manager.store(LINK, descriptor):
            return False
        del self._waiting[descriptor]
        self._kept.add(descriptor)
        return True
