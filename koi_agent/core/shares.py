"""Shares of a limited number of places, so that no owner locks out the others.

An owner is a user or an address; a place is a connection, a stream, a call or a byte of a queue.
"""

from collections import Counter
from collections.abc import Collection, Hashable


class Shares:
    """The places that each owner holds.

    ``places`` is the number of all, and ``share`` the most of one owner. ``kept`` places are free
    for the ``privileged`` owners only.
    """

    def __init__(
        self, places: int, share: int, *, kept: int = 0, privileged: Collection[Hashable] = ()
    ) -> None:
        self._places = places
        self._share = share
        self._kept = kept
        self._privileged = frozenset(privileged)
        self._held: Counter[Hashable] = Counter()
        self.total = 0

    def held(self, owner: Hashable) -> int:
        """Return the number of places that an owner holds."""
        return self._held[owner]

    def has_share_left(self, owner: Hashable, size: int = 1) -> bool:
        """Return True if an owner may hold more places, free or not."""
        return self._held[owner] + size <= self._share

    def has_room(self, owner: Hashable, size: int = 1) -> bool:
        """Return True if this many places are free for an owner, beyond those that it holds."""
        kept = 0 if owner in self._privileged else self._kept
        return self.total + size <= self._places - kept

    def fits(self, owner: Hashable, size: int = 1) -> bool:
        """Return True if an owner can get this many places now."""
        return self.has_share_left(owner, size) and self.has_room(owner, size)

    def add(self, owner: Hashable, size: int = 1) -> None:
        """Add places to those of an owner."""
        self._held[owner] += size
        self.total += size

    def remove(self, owner: Hashable, size: int = 1) -> None:
        """Free places of an owner."""
        self._held[owner] -= size
        self.total -= size
        if not self._held[owner]:
            del self._held[owner]

    def first_to_yield(self, owner: Hashable) -> Hashable | None:
        """Return the owner that yields a place to this one, ``None`` for none.

        It is the one that holds the most, and more than the other would then hold. Privileged
        owners get places of all others, and yield none.
        """
        held = {one: count for one, count in self._held.items() if one not in self._privileged}
        most = max(held, key=held.__getitem__, default=None)
        if most is None or owner in self._privileged:
            return most
        return most if held[most] > self._held[owner] + 1 else None
