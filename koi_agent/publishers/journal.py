"""Events as log records: one line each, with the fields that ``journalctl`` filters by."""

import logging
from collections.abc import Mapping, Sequence

from koi_agent.core.events import (
    BackendAdded,
    BackendDisconnected,
    BackendEvent,
    BackendReconnected,
    BackendRemoved,
    BackendState,
    BackendUpdated,
    Event,
    Started,
    Stopped,
    Updated,
)
from koi_agent.core.instance import Instance, Refusal
from koi_agent.core.message_ids import MessageId, journal_fields
from koi_agent.core.text import MOST_REASONS, bounded

log = logging.getLogger(__name__)


class JournalPublisher:
    """An event sink that logs starts and stops, and updates at level debug."""

    def publish(self, events: Sequence[Event]) -> None:
        """Log events."""
        for event in events:
            _log(event)


def _log(event: Event) -> None:
    match event:
        case Started(new):
            if log.isEnabledFor(logging.INFO):
                extra = _instance_fields(new, MessageId.STARTED, "started")
                log.info("started %s (%s)", new.key, new.state_detail, extra=extra)
            _log_refusals(new, ())
        case Stopped(last, reason):
            if log.isEnabledFor(logging.INFO):
                extra = _instance_fields(last, MessageId.STOPPED, "stopped")
                log.info("stopped %s (%s)", last.key, reason, extra=extra)
        case Updated(old, new):
            if old.metadata is not new.metadata:
                _log_refusals(new, old.metadata.refused)
            if log.isEnabledFor(logging.DEBUG):
                extra = _instance_fields(new, MessageId.UPDATED, "updated")
                log.debug("updated %s (%s)", new.key, new.state_detail, extra=extra)
        case _:
            _log_backend(event)


def _log_refusals(instance: Instance, known: Sequence[Refusal]) -> None:
    """Log metadata that is refused, once for each run."""
    before = frozenset(known)
    fresh = [one for one in instance.metadata.refused if one not in before]
    texts = [f"{_subject(one)} refused: {one.reason}" for one in fresh]
    for text in bounded(texts, MOST_REASONS, f"koi-runtime explain {instance.name}"):
        extra = _instance_fields(instance, MessageId.REFUSED, "refused")
        log.warning("%s: %s", instance.key, text, extra=extra)


def _subject(refusal: Refusal) -> str:
    return f"{refusal.key}: {refusal.part}" if refusal.part else refusal.key


def _instance_fields(instance: Instance, message_id: MessageId, event: str) -> Mapping[str, object]:
    fields = {
        "KOI_EVENT": event,
        "KOI_BACKEND": instance.backend,
        "KOI_INSTANCE": str(instance.key),
        "KOI_NAME": instance.name,
    }
    if instance.unit:
        fields["KOI_UNIT"] = instance.unit
    return journal_fields(message_id, **fields)


def _log_backend(event: BackendEvent) -> None:
    match event:
        case BackendAdded(status):
            log.info("%s: following", status.name, extra=_backend_fields(status.name))
        case BackendRemoved(backend):
            log.info("%s: no longer followed", backend, extra=_backend_fields(backend))
        case BackendUpdated(old, new) if old.state is not new.state:
            reason = f": {new.last_error}" if new.state is BackendState.ABSENT else ""
            extra = _backend_fields(new.name)
            log.info("%s: %s, was %s%s", new.name, new.state, old.state, reason, extra=extra)
        case BackendDisconnected(backend, reason):
            extra = _backend_fields(backend, MessageId.DISCONNECTED, "disconnected")
            log.warning("%s: disconnected: %s", backend, reason, extra=extra)
        case BackendReconnected(backend):
            extra = _backend_fields(backend, MessageId.RECONNECTED, "reconnected")
            log.info("%s: reconnected", backend, extra=extra)
        case BackendUpdated():
            pass


def _backend_fields(
    backend: str, message_id: MessageId = MessageId.BACKEND, event: str = "backend"
) -> Mapping[str, object]:
    return journal_fields(message_id, KOI_EVENT=event, KOI_BACKEND=backend)
