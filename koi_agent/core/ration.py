"""Rations of something that is used up and comes back with time, so that no owner uses it all."""

from collections.abc import Callable, Collection, Hashable
from math import inf
from typing import Final

SHARE: Final = 0.2
"""The most of the agent's time that a user gets while its requests wait for each other.

For four fifths of the time, the agent is then free for a request of another user.
"""
BURST: Final = 2.0
"""Seconds of service that a user gets at once: four first lists of 5 000 instances."""


class Ration:
    """The amounts that owners may still use.

    An owner has ``burst`` at first. What it uses comes back at ``rate`` a second. A use may exceed
    what is left: the rest is a debt of at most ``burst``. Owners that are ``unlimited`` can always
    use more. ``now`` returns the time in seconds.
    """

    def __init__(
        self,
        rate: float,
        burst: float,
        now: Callable[[], float],
        unlimited: Collection[Hashable] = (),
    ) -> None:
        self._rate = rate
        self._burst = burst
        self._now = now
        self._unlimited = frozenset(unlimited)
        # The time at which each owner has ``burst`` again.
        self._whole: dict[Hashable, float] = {}

    def left(self, owner: Hashable) -> float:
        """Return what an owner may use now; it is negative for a debt."""
        if owner in self._unlimited:
            return inf
        until_whole = self._whole.get(owner, 0) - self._now()
        return self._burst - max(until_whole, 0) * self._rate

    def spend(self, owner: Hashable, amount: float) -> None:
        """Subtract what an owner used."""
        if owner in self._unlimited:
            return
        now = self._now()
        if owner not in self._whole:
            self._whole = {one: at for one, at in self._whole.items() if at > now}
        whole = max(self._whole.get(owner, 0), now) + amount / self._rate
        self._whole[owner] = min(whole, now + 2 * self._burst / self._rate)

    def pause(self, owner: Hashable) -> float:
        """Return the seconds until an owner has some left, 0 if it has."""
        return max(-self.left(owner) / self._rate, 0)
