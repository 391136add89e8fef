"""Logs the decisions on the requests of an instance, and the states of its records."""

import logging
from collections.abc import Mapping, Sequence

from koi_agent.core.instance import Instance, RecordState, RecordStatus
from koi_agent.core.key import Key
from koi_agent.core.message_ids import MessageId, journal_fields
from koi_agent.core.plan.records import Decision
from koi_agent.core.text import MOST_REASONS, bounded

log = logging.getLogger(__name__)


def log_decisions(key: Key, decisions: Sequence[Decision]) -> None:
    """Log new decisions on an instance."""
    texts = [f"{one.state}, {one.about}: {one.reason}" for one in decisions]
    for text in bounded(texts, MOST_REASONS, f"koi-runtime explain {key}"):
        log.info("%s: %s", key, text, extra=_fields(MessageId.DECIDED, key))


def log_status(instance: Instance, status: Sequence[RecordStatus]) -> None:
    """Log new states of records: announced ones, and those that failed."""
    for one in status:
        if one.state is RecordState.ANNOUNCED:
            extra = _fields(MessageId.ANNOUNCED, instance.key, KOI_NAME=instance.name)
            reason = f" ({one.reason})" if one.reason else ""
            log.info("announced %s for %s%s", one.name, instance.key, reason, extra=extra)
        elif one.state is RecordState.FAILED:
            extra = _fields(MessageId.NOT_ANNOUNCED, instance.key, KOI_NAME=instance.name)
            text = "can't announce %s for %s: %s; trying again"
            log.warning(text, one.name, instance.key, one.reason, extra=extra)


def _fields(kind: MessageId, key: Key, **fields: str) -> Mapping[str, Mapping[str, object]]:
    return journal_fields(kind, KOI_INSTANCE=str(key), KOI_BACKEND=key.backend, **fields)
