"""Events as log records, one line each."""

import logging
from collections.abc import Sequence

from koi_agent.core.changes import (
    BackendDisconnected,
    BackendReconnected,
    BackendUpdated,
    Event,
    Started,
    Stopped,
    Updated,
)

log = logging.getLogger(__name__)


class JournalPublisher:
    """An event sink that logs what starts and stops; updates only for who debugs."""

    def publish(self, events: Sequence[Event]) -> None:
        """Log events."""
        for event in events:
            _log(event)


def _log(event: Event) -> None:
    match event:
        case Started(instance):
            log.info("started %s (%s)", instance.key, instance.state_detail)
        case Stopped(instance, reason):
            log.info("stopped %s (%s)", instance.key, reason)
        case Updated(_, new):
            log.debug("updated %s (%s)", new.key, new.state_detail)
        case BackendUpdated(old, new) if old.state is not new.state:
            log.info("%s: %s, was %s", new.name, new.state, old.state)
        case BackendDisconnected(backend, reason):
            log.warning("%s: disconnected: %s", backend, reason)
        case BackendReconnected(backend):
            log.info("%s: reconnected", backend)
        case BackendUpdated():
            pass
