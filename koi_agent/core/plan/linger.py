"""What is wanted, for whoever acts on it: what comes back soon enough has never left.

A restart is a stop and a start. Who shows events tells both; who acts on what is there, as one
that announces or hands out targets, would withdraw something and bring it back a moment later,
for everybody on the network to see. The same goes for a port: what has just started again
listens a little later, and that is found later still.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Final

from koi_agent.core.events import Event, Started, Stopped, Updated
from koi_agent.core.instance import Instance, PortMapping

FINAL: Final = frozenset({"claimed", "removed", "followed no more"})
"""Reasons for which what stopped does not come back as the same: there is nothing to wait for."""


class RestartGrace:
    """An event sink; ``seconds`` is how long what stopped is taken to be there still.

    ``clock`` tells monotonic seconds.
    """

    def __init__(self, seconds: float, clock: Callable[[], float]) -> None:
        self.seconds = seconds
        self._clock = clock
        self._left: dict[str, tuple[float, Instance]] = {}
        self._places: dict[tuple[str, str, str, int], str] = {}
        self._closed: dict[str, tuple[float, tuple[PortMapping, ...]]] = {}

    def publish(self, events: Sequence[Event]) -> None:
        """Note who leaves and who comes back."""
        for event in events:
            match event:
                case Started(instance) if instance.key in self._left:
                    self._compare(self._drop(instance.key).ports, instance)
                case Updated(old, new) if old.ports != new.ports:
                    self._compare(old.ports, new)
                case Stopped(instance, reason):
                    self._leave(instance, reason)
                case _:
                    pass
        self._forget()

    def wanted(self, visible: Mapping[str, Instance]) -> Iterator[Instance]:
        """Yield what is there, and what may come back yet, as it was; ordered by key."""
        self._forget()
        left = {key: instance for key, (_, instance) in self._left.items()}
        both = left | dict(visible)
        for key in sorted(both):
            yield self._whole(both[key])

    def of(self, key: str, visible: Mapping[str, Instance]) -> Instance | None:
        """Find one of those that are wanted."""
        self._forget()
        _, left = self._left.get(key, (0.0, None))
        instance = visible.get(key, left)
        return self._whole(instance) if instance else None

    def give_up_for(self, new: Instance) -> str:
        """Wait no longer for one that has left, where another stands in its place.

        Returns the key of the one that was waited for, as for a container that is made anew.
        """
        key = self._places.get(_place(new), new.key)
        if key == new.key:
            return ""
        self._drop(key)
        return key

    def _drop(self, key: str) -> Instance:
        """Wait no longer for one that has left; returns what it was."""
        _, instance = self._left.pop(key)
        if self._places.get(_place(instance)) == key:
            del self._places[_place(instance)]
        return instance

    def _leave(self, instance: Instance, reason: str) -> None:
        if reason not in FINAL:
            self._left[instance.key] = self._clock(), self._whole(instance)
            self._places[_place(instance)] = instance.key
        self._closed.pop(instance.key, None)

    def _compare(self, before: tuple[PortMapping, ...], now: Instance) -> None:
        """Note the ports that were there ``before`` and are closed now, or still."""
        since, remembered = self._closed.pop(now.key, (self._clock(), ()))
        there = {(port.container_port, port.protocol) for port in now.ports}
        closed = {p for p in (*before, *remembered) if (p.container_port, p.protocol) not in there}
        if closed:
            self._closed[now.key] = since, tuple(sorted(closed))

    def _whole(self, instance: Instance) -> Instance:
        """Show an instance with the ports that it may open again."""
        _, closed = self._closed.get(instance.key, (0.0, ()))
        return replace(instance, ports=(*instance.ports, *closed)) if closed else instance

    def _forget(self) -> None:
        """Let go of those whose time is over, the oldest first."""
        over = self._clock() - self.seconds
        while self._left and self._left[oldest := next(iter(self._left))][0] <= over:
            self._drop(oldest)
        while self._closed and self._closed[oldest := next(iter(self._closed))][0] <= over:
            del self._closed[oldest]


def _place(instance: Instance) -> tuple[str, str, str, int]:
    """Tell what one that is made anew has in common with the one before: all but its id."""
    return instance.backend, instance.project, instance.name, instance.replica
