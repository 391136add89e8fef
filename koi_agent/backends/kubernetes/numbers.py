"""The numbers of equal pods: the lowest that is free, kept for the life of a pod."""

from collections.abc import Set
from heapq import heappop, heappush

from koi_agent.backends.kubernetes.pods import Pod


class Numbers:
    """Numbers of pods by their owner, from 1. Each change costs the same for any number of pods."""

    def __init__(self) -> None:
        self._held: dict[str, tuple[str, int]] = {}  # by id: the owner and the number
        self._next: dict[str, int] = {}
        self._free: dict[str, list[int]] = {}
        self._counts: dict[str, int] = {}

    def number(self, pod: Pod) -> int:
        """Return the number of a pod, 0 for one without an owner."""
        if pod.number or not pod.owner:
            return pod.number
        held = self._held.get(pod.instance.id)
        if held and held[0] == pod.owner:
            return held[1]
        self.release(pod.instance.id)
        if free := self._free.get(pod.owner):
            number = heappop(free)
        else:
            number = self._next[pod.owner] = self._next.get(pod.owner, 0) + 1
        self._held[pod.instance.id] = pod.owner, number
        self._counts[pod.owner] = self._counts.get(pod.owner, 0) + 1
        return number

    def keep(self, ids: Set[str]) -> None:
        """Free the numbers of all other pods, which ended while the connection was lost."""
        for id_ in self._held.keys() - ids:
            self.release(id_)

    def release(self, id_: str) -> None:
        """Free the number of a pod that is gone."""
        owner, number = self._held.pop(id_, ("", 0))
        if not owner:
            return
        self._counts[owner] -= 1
        if self._counts[owner]:
            heappush(self._free.setdefault(owner, []), number)
            return
        for by_owner in (self._counts, self._next, self._free):
            by_owner.pop(owner, None)
