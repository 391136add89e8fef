"""What is asked of a container engine, and what of its labels is read: one list for all who do.

The agent asks for no more, and the gate before an engine hands on no more.
"""

from typing import Final

from koi_agent.core.partners import is_partners

EVENTS: Final = {
    "type": ["container", "network"],
    "event": [
        *("start", "restart", "kill", "oom", "die", "died", "stop", "destroy", "remove"),
        *("pause", "unpause", "rename", "update", "health_status", "connect", "disconnect"),
    ],
}
"""What is wanted of /events, in Docker's words and in Podman's; never ``exec_*``: health checks
would wake us for nothing, and carry command lines."""
COMPOSE: Final = "com.docker.compose."
UNIT: Final = "PODMAN_SYSTEMD_UNIT"
"""Podman's label for the unit that runs a container."""
_OTHERS: Final = frozenset(
    {UNIT} | {COMPOSE + w for w in ("service", "project", "container-number")}
)


def is_read(label: str) -> bool:
    """Tell whether a label is for us; whatever else a container carries is nobody's business."""
    return label.startswith("koi.") or label in _OTHERS or is_partners(label)
