"""Container engines: their sockets, and which of their events and labels are used.

The Docker backend requests only these, and the gate in front of an engine passes only these.
Neither imports the other, so both import this.
"""

from typing import Final

from koi_agent.core.metadata.proxy_labels import is_proxy_label

SOCKETS: Final = {"docker": "/run/docker.sock", "podman": "/run/podman/podman.sock"}
"""Sockets of the system's engines."""
GATES: Final = "/run/koi-runtime/gate"
"""Directory of the gates' sockets, which only the system's agent may use."""
EVENTS: Final = {
    "type": ["container", "network", "service"],
    "event": [
        *("start", "restart", "kill", "oom", "die", "died", "stop", "destroy", "remove"),
        *("pause", "unpause", "rename", "update", "health_status", "connect", "disconnect"),
    ],
}
"""Filters of /events, with the names of Docker and of Podman. ``exec_*`` is left out: each health
check would wake the agent up, and these events contain command lines."""
COMPOSE: Final = "com.docker.compose."
SWARM_SERVICE: Final = "com.docker.swarm.service.name"
SWARM_SERVICE_ID: Final = "com.docker.swarm.service.id"
SWARM_TASK: Final = "com.docker.swarm.task.name"
SWARM_STACK: Final = "com.docker.stack.namespace"
UNIT: Final = "PODMAN_SYSTEMD_UNIT"
"""Podman's label for the unit that runs a container."""
_OTHER_LABELS: Final = frozenset(
    {UNIT, SWARM_SERVICE, SWARM_SERVICE_ID, SWARM_TASK, SWARM_STACK}
    | {COMPOSE + key for key in ("service", "project", "container-number")}
)


def gate_socket(engine: str) -> str:
    """Return the path of the socket of an engine's gate."""
    return f"{GATES}/{engine}.sock"


def is_gate(path: str) -> bool:
    """Return True if a path is the socket of a gate, whether it exists or not."""
    return path.startswith(f"{GATES}/")


def gate_unit(engine: str) -> str:
    """Return the path unit that starts a gate when the socket of its engine appears."""
    return f"koi-runtime-gate@{engine}.path"


def is_used_label(label: str) -> bool:
    """Return True if the agent reads a label; it never sees others, which may be secret."""
    return label.startswith("koi.") or label in _OTHER_LABELS or is_proxy_label(label)
