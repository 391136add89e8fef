"""What an engine says happened, one line of its event stream at a time.

Docker and Podman say the same in slightly different words; from here on it is Docker's.
Of what comes along, labels are used only for a container that is gone before it was inspected,
and nothing else is kept.
"""

import json
import re
import signal as signals
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final

from koi_agent.backends.http_engine.json_fields import Answer, container_id, inner, number, text
from koi_agent.core.errors import BadInput
from koi_agent.core.instance import Health

_CONTAINER: Final = {
    **{action: action for action in ("start", "die", "kill", "stop", "destroy", "pause")},
    **{action: action for action in ("unpause", "rename", "update", "oom", "restart")},
    "health_status": "health_status",
    "died": "die",  # Podman's
    "remove": "destroy",  # Podman's
}
_NETWORK: Final = {"connect": "connect", "disconnect": "disconnect"}
_ACTIONS: Final = {"container": _CONTAINER, "network": _NETWORK}
_HEALTH: Final = {word: Health(word) for word in ("starting", "healthy", "unhealthy")}
_CODE: Final = re.compile("-?[0-9]{1,9}")
_SIGNAL: Final = re.compile("(?:SIG)?([A-Z0-9]+)((?<=RTMIN)[+][0-9]{1,2}|(?<=RTMAX)-[0-9]{1,2})?")
_LAST_SIGNAL: Final = signals.SIGRTMAX
_NO_LABELS: Final[Mapping[str, str]] = MappingProxyType({})
_NOT_LABELS: Final = frozenset({"name", "image", "exitCode", "execDuration", "signal", "oldName"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """Something happened to the container ``id``.

    ``time`` is nanoseconds since the epoch, 0 where the engine does not say. ``health`` is what a
    ``health_status`` tells, if it can be read, ``signal`` that of a ``kill``. ``labels`` are a
    container's own, with some attributes among them.
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


def event(line: bytes) -> Event | None:
    """Read a line; ``None`` is one that does not concern us. Raises ``BadInput``."""
    if not line.strip():
        raise BadInput("it is too long, or empty")
    try:
        said = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise BadInput("it is no JSON") from error
    if not isinstance(said, dict):
        raise BadInput("it is no object")
    actions = _ACTIONS.get(text(said, "Type"), {})
    word, _, detail = (text(said, "Action") or text(said, "status")).partition(":")
    action = actions.get(word)
    return _event(said, action, detail.strip()) if action else None


def _event(said: Answer, action: str, detail: str) -> Event:
    """Read what happened; in Podman's network events, the actor is the container itself."""
    actor = inner(said, "Actor")
    attributes = inner(actor, "Attributes")
    of_network = action in _NETWORK
    is_network = of_network and "container" in attributes
    id_ = container_id(attributes, "container") if is_network else container_id(actor, "ID")
    code = text(attributes, "exitCode") or text(attributes, "containerExitCode")
    return Event(
        action=action,
        id=id_,
        time=number(said, "timeNano"),
        name="" if of_network else text(attributes, "name"),
        image=text(attributes, "image"),
        health=_health(said, detail) if action == "health_status" else None,
        signal=signal_number(text(attributes, "signal")) if action == "kill" else 0,
        exit_code=int(code) if _CODE.fullmatch(code) else None,
        labels=_labels(attributes) if action == "start" else _NO_LABELS,
    )


def _health(said: Answer, detail: str) -> Health | None:
    """Tell the health of a health event: Docker's is in the action, Podman's beside it.

    Among the attributes there are Podman's labels, which say what they like.
    """
    words = (detail, text(said, "HealthStatus"), text(said, "health_status"))
    return next((_HEALTH[word] for word in words if word in _HEALTH), None)


def signal_number(word: str) -> int:
    """Read a signal as ``15``, ``TERM``, ``SIGTERM`` or ``RTMIN+3``; 0 is none that is known."""
    if _CODE.fullmatch(word):
        return int(word) if 0 < int(word) <= _LAST_SIGNAL else 0
    found = _SIGNAL.fullmatch(word.upper())
    named = signals.Signals.__members__.get(f"SIG{found[1]}") if found else None
    spoken = named + int(found[2] or 0) if named and found else 0
    return spoken if spoken <= _LAST_SIGNAL else 0


def _labels(attributes: Answer) -> Mapping[str, str]:
    return {
        key: value
        for key, value in attributes.items()
        if key not in _NOT_LABELS and isinstance(value, str)
    }
