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
from typing import Any, Final

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
    actions = _ACTIONS.get(_text(said, "Type"), {})
    word, _, detail = (_text(said, "Action") or _text(said, "status")).partition(":")
    action = actions.get(word)
    return _event(said, action, detail.strip()) if action else None


def _event(said: Mapping[str, Any], action: str, detail: str) -> Event:
    actor = said.get("Actor")
    attributes = actor.get("Attributes") if isinstance(actor, dict) else None
    if not isinstance(actor, dict) or not isinstance(attributes, dict):
        raise BadInput(f"a {action} without an actor")
    of_network = action in _NETWORK
    id_ = _text(attributes, "container") if of_network else _text(actor, "ID")
    if not id_ or len(id_) > 128:
        raise BadInput(f"a {action} without a container's id")
    code = _text(attributes, "exitCode") or _text(attributes, "containerExitCode")
    return Event(
        action=action,
        id=id_,
        time=_time(said),
        name="" if of_network else _text(attributes, "name"),
        image=_text(attributes, "image"),
        health=_health(action, detail, attributes),
        signal=signal_number(_text(attributes, "signal")),
        exit_code=int(code) if _CODE.fullmatch(code) else None,
        labels=_labels(attributes) if action == "start" else _NO_LABELS,
    )


def _time(said: Mapping[str, Any]) -> int:
    time = said.get("timeNano")
    return time if isinstance(time, int) and 0 < time < 2**63 else 0


def _health(action: str, detail: str, attributes: Mapping[str, Any]) -> Health | None:
    """Tell the health of a health event: Docker's is in the action, Podman's an attribute."""
    if action != "health_status":
        return None
    said = (detail, _text(attributes, "health_status"), _text(attributes, "healthStatus"))
    return next((_HEALTH[word] for word in said if word in _HEALTH), None)


def signal_number(text: str) -> int:
    """Read a signal as ``15``, ``TERM`` or ``SIGTERM``; 0 is none that is known."""
    if _CODE.fullmatch(text):
        return max(int(text), 0)
    word = text.upper()
    name = word if word.startswith("SIG") else f"SIG{word}"
    return int(signals.Signals[name]) if name in signals.Signals.__members__ else 0


def _labels(attributes: Mapping[str, Any]) -> Mapping[str, str]:
    return {
        key: value
        for key, value in attributes.items()
        if key not in _NOT_LABELS and isinstance(value, str)
    }


def _text(said: Mapping[str, Any], key: str) -> str:
    value = said.get(key)
    return value if isinstance(value, str) else ""
