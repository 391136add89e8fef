"""What is wanted, for whoever acts on it: what comes back soon enough has never left.

A restart is a stop and a start. Who shows events tells both; who acts on what is there, as one
that announces or hands out targets, would withdraw something and bring it back a moment later,
for everybody on the network to see.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Final

from koi_agent.core.changes import Event, Started, Stopped
from koi_agent.core.instance import Instance

FINAL: Final = frozenset({"claimed", "removed", "followed no more"})
"""Reasons for which what stopped does not come back as the same: there is nothing to wait for."""


class Grace:
    """An event sink; ``seconds`` is how long what stopped is taken to be there still.

    ``clock`` tells monotonic seconds.
    """

    def __init__(self, seconds: float, clock: Callable[[], float]) -> None:
        self.seconds = seconds
        self._clock = clock
        self._left: dict[str, tuple[float, Instance]] = {}

    def publish(self, events: Sequence[Event]) -> None:
        """Note who leaves and who comes back."""
        for event in events:
            match event:
                case Started(instance):
                    self._left.pop(instance.key, None)
                case Stopped(instance, reason) if reason not in FINAL:
                    self._left[instance.key] = self._clock(), instance
                case _:
                    pass
        self._forget()

    def wanted(self, visible: Mapping[str, Instance]) -> Iterator[Instance]:
        """Yield what is there, and what may come back yet, as it was; ordered by key."""
        self._forget()
        left = {key: instance for key, (_, instance) in self._left.items()}
        both = left | dict(visible)
        for key in sorted(both):
            yield both[key]

    def _forget(self) -> None:
        """Let go of those whose time is over; the oldest come first."""
        over = self._clock() - self.seconds
        for key, (since, _) in list(self._left.items()):
            if since > over:
                break
            del self._left[key]
