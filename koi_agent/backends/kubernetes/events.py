"""The events of a watch: one JSON object in each line."""

import json
from enum import StrEnum
from typing import Final, NamedTuple

from koi_agent.backends.http_engine.json_fields import (
    JSONObject,
    as_object,
    get_int,
    get_object,
    get_str,
)
from koi_agent.core.errors import BadInput
from koi_agent.core.text import printable

INITIAL_EVENTS_END: Final = "k8s.io/initial-events-end"
"""The annotation of the bookmark that ends the list at the beginning of a watch."""
_MAX_MESSAGE: Final = 300


class EventType(StrEnum):
    """Type of an event; ``BOOKMARK`` has a version only, and ``ERROR`` ends the watch."""

    SEEN = "SEEN"
    DELETED = "DELETED"
    BOOKMARK = "BOOKMARK"
    ERROR = "ERROR"


_TYPES: Final = {
    "ADDED": EventType.SEEN,
    "MODIFIED": EventType.SEEN,
    **{str(one): one for one in (EventType.DELETED, EventType.BOOKMARK, EventType.ERROR)},
}


class Event(NamedTuple):
    """An event, and its object, which is a ``Status`` for an error."""

    type: EventType
    record: JSONObject

    @property
    def ends_list(self) -> bool:
        """True if all objects that a watch begins with have come."""
        annotations = get_object(get_object(self.record, "metadata"), "annotations")
        return self.type is EventType.BOOKMARK and annotations.get(INITIAL_EVENTS_END) == "true"

    @property
    def code(self) -> int:
        """The HTTP status of an error."""
        return get_int(self.record, "code")

    @property
    def message(self) -> str:
        """The message of an error, printable."""
        return printable(get_str(self.record, "message"), _MAX_MESSAGE)


def parse_event(line: bytes) -> Event:
    """Parse a line; raise ``BadInput``."""
    try:
        event = as_object(json.loads(line.decode("utf-8", "replace")))
    except (ValueError, RecursionError):
        raise BadInput("not JSON") from None
    kind = _TYPES.get(get_str(event, "type"))
    if kind is None:
        raise BadInput("type: not one of an event")
    return Event(kind, as_object(event.get("object")))
