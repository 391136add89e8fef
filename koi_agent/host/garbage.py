"""Collects young objects often, so that no collection blocks the agent for long."""

import gc
from collections.abc import Sequence
from typing import Final

from koi_agent.core.events import Event

PERIOD: Final = 256
"""Events between two collections: a collection of the objects of these is short."""


class Garbage:
    """Counts the events since the last collection.

    The interpreter begins a collection when many more objects were created than freed. An event
    often frees as many as it creates. Then the objects of all instances become young before the
    interpreter begins, and the collection is long. ``bench.kubernetes`` measures the longest stall.
    """

    def __init__(self) -> None:
        self._events = 0

    def publish(self, events: Sequence[Event]) -> None:
        """Count events; collect young objects after each ``PERIOD``."""
        self._events += len(events)
        if self._events >= PERIOD:
            self._events = 0
            gc.collect(1)
