"""Restart grace: an instance that starts again soon enough counts as present throughout.

A restart is a stop and a start. Publishers of events show both. A publisher of records would
withdraw a record and publish it again a moment later, which every host on the network sees. The
same holds for a port: a service that has just started again listens a little later, and its port
is found later still.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Final

from koi_agent.core.events import Event, GoneReason, Started, Stopped, Updated
from koi_agent.core.instance import Instance, InstanceState, PortMapping, PortSource
from koi_agent.core.key import Key
from koi_agent.core.plan.restarts import Restarts
from koi_agent.core.ports import NOT_OPEN

_FINAL: Final = frozenset(map(str, GoneReason))
_Identity = tuple[str, str, str, int]
"""Backend, project, service name and replica of an instance."""


class RestartGrace:
    """Event sink; ``seconds`` is how long an instance that stopped still counts as present.

    ``clock`` returns monotonic seconds.
    """

    def __init__(self, seconds: float, clock: Callable[[], float]) -> None:
        self.seconds = seconds
        self._clock = clock
        self._stopped: dict[Key, tuple[float, Instance]] = {}
        self._successors: dict[_Identity, Key] = {}
        self._closed: dict[Key, tuple[float, tuple[PortMapping, ...]]] = {}
        self._restarts = Restarts(clock)

    def publish(self, events: Sequence[Event]) -> None:
        """Record which instances stop and which start again."""
        for event in events:
            match event:
                case Started(instance):
                    self._on_start(instance)
                case Updated(old, new):
                    self._on_update(old, new)
                case Stopped(instance, reason):
                    self._on_stop(instance, reason)
                case _:
                    pass
        self._expire()

    def keeps(self, key: Key) -> bool:
        """Return True if an instance has stopped and may come back."""
        return key in self._stopped

    def wanted(self, visible: Mapping[Key, Instance]) -> Iterator[Instance]:
        """Yield the visible instances and those that may come back, ordered by key."""
        self._expire()
        stopped = {key: instance for key, (_, instance) in self._stopped.items()}
        both = stopped | dict(visible)
        for key in sorted(both):
            yield self._as_it_counts(both[key])

    def find(self, key: Key, visible: Mapping[Key, Instance]) -> Instance | None:
        """Return an instance that is visible or may come back, or None."""
        self._expire()
        _, stopped = self._stopped.get(key, (0.0, None))
        instance = visible.get(key, stopped)
        return self._as_it_counts(instance) if instance else None

    def _as_it_counts(self, instance: Instance) -> Instance:
        return self._restarts.shown(self._with_closed_ports(instance), self.seconds)

    def replace(self, new: Instance) -> Key | None:
        """Stop waiting for an instance that ``new`` replaces, as a recreated container does.

        Returns the key of the replaced instance, or None.
        """
        key = self._successors.get(_identity(new), new.key)
        if key == new.key:
            return None
        self._drop(key)
        return key

    def _drop(self, key: Key) -> Instance:
        """Stop waiting for an instance; return its last state."""
        _, instance = self._stopped.pop(key)
        if self._successors.get(_identity(instance)) == key:
            del self._successors[_identity(instance)]
        return instance

    def _on_start(self, instance: Instance) -> None:
        if instance.key in self._stopped:
            last = self._drop(instance.key)
            if last.state is not InstanceState.RESTARTING:  # its ports were not open
                self._compare(last.ports, instance)
        self._restarts.started(instance)

    def _on_update(self, old: Instance, new: Instance) -> None:
        if old.state is not new.state:
            self._restarts.changed(self._with_closed_ports(old).ports, new, self.seconds)
        if old.ports != new.ports:
            self._compare(old.ports, new)

    def _on_stop(self, instance: Instance, reason: str) -> None:
        last = self._as_it_counts(instance)
        self._restarts.stopped(instance.key)
        if reason not in _FINAL:
            self._stopped[instance.key] = self._clock(), last
            self._successors[_identity(instance)] = instance.key
        self._closed.pop(instance.key, None)

    def _compare(self, before: tuple[PortMapping, ...], now: Instance) -> None:
        """Record the ports that were open ``before`` and are closed now."""
        since, remembered = self._closed.get(now.key, (self._clock(), ()))
        open_now = {
            (port.container_port, port.protocol)
            for port in now.ports
            if port.source not in NOT_OPEN
        }
        known = (*before, *remembered)
        closed = {
            port
            for port in known
            if port.source is not PortSource.CLUSTER
            and (port.container_port, port.protocol) not in open_now
        }
        if closed:
            self._closed[now.key] = since, tuple(sorted(closed))
        else:
            self._closed.pop(now.key, None)

    def _with_closed_ports(self, instance: Instance) -> Instance:
        """Return the instance with the ports that it may open again."""
        _, closed = self._closed.get(instance.key, (0.0, ()))
        return replace(instance, ports=(*instance.ports, *closed)) if closed else instance

    def _expire(self) -> None:
        """Drop the entries whose time is over, oldest first."""
        over = self._clock() - self.seconds
        while self._stopped and self._stopped[oldest := next(iter(self._stopped))][0] <= over:
            self._drop(oldest)
        while self._closed and self._closed[oldest := next(iter(self._closed))][0] <= over:
            del self._closed[oldest]


def _identity(instance: Instance) -> _Identity:
    """Return what a recreated instance has in common with the previous one: all except the id."""
    return instance.backend, instance.project, instance.service_name, instance.replica
