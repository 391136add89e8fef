"""Where container engines are asked and what for, and what of labels is read: one list for all.

The agent asks for no more, and the gate before an engine hands on no more.
"""

from typing import Final

from koi_agent.core.metadata.proxy_labels import is_proxy_label

SOCKETS: Final = {"docker": "/run/docker.sock", "podman": "/run/podman/podman.sock"}
"""Where the system's engines listen."""
GATES: Final = "/run/koi-runtime/gate"
"""The folder of the sockets of gates, which only the system's agent may use."""
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


def gate_socket(engine: str) -> str:
    return f"{GATES}/{engine}.sock"


def is_gate(path: str) -> bool:
    """Tell whether a gate listens there, if anybody does: that it is not there says little."""
    return path.startswith(f"{GATES}/")


def gate_unit(engine: str) -> str:
    """Name the unit that opens a gate when its engine is there, and with which it is closed."""
    return f"koi-runtime-gate@{engine}.path"


def is_read(label: str) -> bool:
    """Tell whether a label is for us; whatever else a container carries is nobody's business."""
    return label.startswith("koi.") or label in _OTHERS or is_proxy_label(label)
