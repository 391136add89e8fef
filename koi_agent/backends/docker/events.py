"""The engine's event stream: one line of it as an ``Event``, and which events are known already.

Docker and Podman use slightly different words; an ``Event`` has Docker's. Labels are kept only of
a start: the container may be gone before it can be inspected.
"""

import json
import re
import signal as signals
import time
from collections.abc import Mapping
from dataclasses import field
from types import MappingProxyType
from typing import Final

from koi_agent.backends.http_engine.json_fields import (
    JSONObject,
    as_object,
    get_id,
    get_int,
    get_object,
    get_str,
)
from koi_agent.core.errors import BadInput
from koi_agent.core.frozen import frozen
from koi_agent.core.instance import Health

_CONTAINER: Final = {
    **{action: action for action in ("start", "die", "kill", "stop", "destroy", "pause")},
    **{action: action for action in ("unpause", "rename", "update", "oom", "restart")},
    "health_status": "health_status",
    "died": "die",  # Podman's
    "remove": "destroy",  # Podman's
}
_NETWORK: Final = {"connect": "connect", "disconnect": "disconnect"}
SERVICE_CHANGED: Final = "service"
"""The action of an event on a service of a swarm, whose id it has."""
_SERVICE: Final = {"update": SERVICE_CHANGED, "remove": SERVICE_CHANGED}
_ACTIONS: Final = {"container": _CONTAINER, "network": _NETWORK, "service": _SERVICE}
_HEALTH: Final = {word: Health(word) for word in ("starting", "healthy", "unhealthy")}
_DECODER: Final = json.JSONDecoder()
_NUMBER: Final = re.compile("-?[0-9]{1,9}")
_SIGNAL: Final = re.compile("(?:SIG)?([A-Z0-9]+)((?<=RTMIN)[+][0-9]{1,2}|(?<=RTMAX)-[0-9]{1,2})?")
_LAST_SIGNAL: Final = signals.SIGRTMAX
_NO_LABELS: Final[Mapping[str, str]] = MappingProxyType({})
_NOT_LABELS: Final = frozenset({"name", "image", "exitCode", "execDuration", "signal", "oldName"})
_NANOSECONDS: Final = 1_000_000_000
_MAX_RECENT: Final = 1024
"""Events remembered to recognize them. dockerd keeps 256 to send them again."""


@frozen(kw_only=True)
class Event:
    """An action on the container ``id``, or on a service.

    ``time`` is nanoseconds since the epoch, 0 if unknown. ``name`` is set by ``start`` and
    ``rename``, ``health`` by ``health_status``, ``signal`` by ``kill``, ``exit_code`` by ``die``,
    ``image`` and ``labels`` by ``start``: the container's own, with some attributes of the event
    among them.
    """

    action: str
    id: str
    time: int = 0
    name: str = ""
    image: str = ""
    health: Health | None = None
    signal: int = 0
    exit_code: int | None = None
    labels: Mapping[str, str] = field(default_factory=lambda: _NO_LABELS)


class EventHistory:
    """The events seen so far, over all connections to one engine.

    ``stream`` is the number of the newest stream. Events are added in the order in which they
    were received, perhaps after a later stream was opened: an event belongs to its own stream.
    """

    def __init__(self) -> None:
        self.stream = 0
        self._latest = 0
        self._stream_of: dict[tuple[int, str, str], int] = {}

    def start_stream(self, received: int = 0) -> str:
        """Return the ``since`` of a new stream: seconds since the epoch, with a fraction.

        ``received`` is the time of the last event that was received and is still to be added, in
        nanoseconds, 0 without one. The engine sends the events of that moment again; ``add``
        recognizes them.
        """
        self.stream += 1
        now = time.time_ns()
        # A clock that was set back must not ask for the future: no event would come until then.
        since = min(max(self._latest, received) or now, now)
        return f"{since // _NANOSECONDS}.{since % _NANOSECONDS:09d}"

    def add(self, event: Event, stream: int) -> bool:
        """Record an event of a stream; return False if an earlier stream had it already."""
        mark = (event.time, event.id, event.action)
        if event.time and self._stream_of.get(mark, stream) < stream:
            return False
        self._stream_of[mark] = stream
        if len(self._stream_of) > _MAX_RECENT:
            del self._stream_of[next(iter(self._stream_of))]
        self._latest = max(self._latest, event.time)
        return True


def parse_event(line: bytes) -> Event | None:
    """Parse a line; return None if it is not about a container. Raise ``BadInput``."""
    if not line.strip():
        raise BadInput("too long, or empty")
    try:
        record = as_object(_DECODER.decode(line.decode(errors="surrogatepass")))
    except (ValueError, RecursionError) as error:
        raise BadInput("not JSON") from error
    actions = _ACTIONS.get(get_str(record, "Type"), {})
    word, _, detail = (get_str(record, "Action") or get_str(record, "status")).partition(":")
    action = actions.get(word)
    return _event(record, action, detail.strip()) if action else None


def _event(record: JSONObject, action: str, detail: str) -> Event:
    """Return an event with the attributes that are used of its action."""
    actor = get_object(record, "Actor")
    attributes = get_object(actor, "Attributes")
    # In Docker's network events the actor is the network, in Podman's the container.
    names_container = action in _NETWORK and "container" in attributes
    is_start = action == "start"
    return Event(
        action=action,
        id=get_id(attributes, "container") if names_container else get_id(actor, "ID"),
        time=get_int(record, "timeNano"),
        name=get_str(attributes, "name") if is_start or action == "rename" else "",
        image=get_str(attributes, "image") if is_start else "",
        health=_health(record, detail) if action == "health_status" else None,
        signal=signal_number(get_str(attributes, "signal")) if action == "kill" else 0,
        exit_code=_exit_code(attributes) if action == "die" else None,
        labels=_labels(attributes) if is_start else _NO_LABELS,
    )


def _exit_code(attributes: JSONObject) -> int | None:
    code = get_str(attributes, "exitCode") or get_str(attributes, "containerExitCode")
    return int(code) if _NUMBER.fullmatch(code) else None


def _health(record: JSONObject, detail: str) -> Health | None:
    """Return the health of a health event: Docker has it in the action, Podman beside it."""
    # Podman's attributes are not used: they contain labels, which may have any value.
    words = (detail, get_str(record, "HealthStatus"), get_str(record, "health_status"))
    return next((_HEALTH[word] for word in words if word in _HEALTH), None)


def signal_number(word: str) -> int:
    """Parse a signal like ``15``, ``TERM``, ``SIGTERM`` or ``RTMIN+3``; return 0 if unknown."""
    if _NUMBER.fullmatch(word):
        return int(word) if 0 < int(word) <= _LAST_SIGNAL else 0
    found = _SIGNAL.fullmatch(word.upper())
    base = signals.Signals.__members__.get(f"SIG{found[1]}") if found else None
    number = base + int(found[2] or 0) if base and found else 0
    return number if number <= _LAST_SIGNAL else 0


def _labels(attributes: JSONObject) -> Mapping[str, str]:
    return {
        key: value
        for key, value in attributes.items()
        if key not in _NOT_LABELS and isinstance(value, str)
    }
