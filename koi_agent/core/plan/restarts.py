"""Automatic restarts: when the requests of an instance that restarts are held.

A manager that restarts a failing instance waits between two runs. Docker waits longer each time.
Records must not follow each run: they are withdrawn once, and published again when the instance has
run for a while.
"""

from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Final

from koi_agent.core.frozen import frozen
from koi_agent.core.instance import Instance, InstanceState, PortMapping
from koi_agent.core.key import Key
from koi_agent.core.ports import NOT_OPEN

STEADY: Final = 10.0
"""Seconds without a restart after which an instance counts as running, as in Docker's own rule."""

_STATES: Final = frozenset({InstanceState.RUNNING, InstanceState.RESTARTING})


@frozen(kw_only=True)
class _Restart:
    """A restart from ``since`` to ``ended``, in seconds; infinity while it lasts.

    ``ports`` were open before. ``is_held`` is True if an earlier restart was longer than the grace.
    """

    since: float
    ended: float = float("inf")
    is_held: bool = False
    ports: tuple[PortMapping, ...] = ()

    def is_too_long(self, now: float, grace: float) -> bool:
        return self.is_held or min(now, self.ended) - self.since >= grace


class Restarts:
    """The instances that restart now, or that restarted lately; ``clock`` returns seconds."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._restarts: dict[Key, _Restart] = {}

    def started(self, instance: Instance) -> None:
        """Record a new instance. If it is restarting already, it has no run that could continue."""
        self._restarts.pop(instance.key, None)
        if instance.state is InstanceState.RESTARTING:
            self._restarts[instance.key] = _Restart(since=self._clock(), is_held=True)

    def changed(self, ports: tuple[PortMapping, ...], now: Instance, grace: float) -> None:
        """Record the state of an instance that had ``ports`` before."""
        known, time = self._restarts.get(now.key), self._clock()
        if now.state is InstanceState.RESTARTING:
            if known is None or known.ended + STEADY <= time:
                known = _Restart(since=time, ports=ports)
            elif known.ended <= time:
                known = replace(known, since=time, ended=float("inf"), ports=known.ports or ports)
            self._restarts[now.key] = known
        elif known and known.ended > time:
            ended = replace(known, ended=time, is_held=known.is_too_long(time, grace))
            self._restarts[now.key] = ended

    def stopped(self, key: Key) -> None:
        """Forget an instance that has stopped."""
        self._restarts.pop(key, None)

    def shown(self, instance: Instance, grace: float) -> Instance:
        """Return an instance in the state that counts for its requests.

        It runs until a restart takes longer than ``grace`` seconds. Then it is restarting, with the
        ports that it had, until it has run for ``STEADY`` seconds.
        """
        known, now = self._restarts.get(instance.key), self._clock()
        if known and known.ended + STEADY <= now:
            del self._restarts[instance.key]
        elif known and instance.state in _STATES:
            is_held = known.is_too_long(now, grace)
            state = InstanceState.RESTARTING if is_held else InstanceState.RUNNING
            shown = instance if instance.state is state else replace(instance, state=state)
            return _with_ports(shown, known.ports) if is_held else shown
        return instance


def _with_ports(instance: Instance, ports: Iterable[PortMapping]) -> Instance:
    """Return an instance with those of the ports that are not open now."""
    open_now = {
        (port.container_port, port.protocol)
        for port in instance.ports
        if port.source not in NOT_OPEN
    }
    missing = [
        port
        for port in ports
        if port.source not in NOT_OPEN and (port.container_port, port.protocol) not in open_now
    ]
    return replace(instance, ports=(*instance.ports, *missing)) if missing else instance
