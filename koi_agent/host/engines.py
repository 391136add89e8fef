"""Container engines: their sockets, and which of their events and labels are used.

The Docker backend requests only these, and the gate in front of an engine passes only these.
Neither imports the other, so both import this.
"""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from koi_agent.core.frozen import frozen
from koi_agent.core.metadata.proxy_labels import is_proxy_label

SOCKETS: Final = {"docker": "/run/docker.sock", "podman": "/run/podman/podman.sock"}
"""Sockets of the system's engines."""
UNIT_FOLDERS: Final = ("/etc", "/run", "/usr/local/lib", "/usr/lib", "/lib")
"""Folders of unit files, below each of which are systemd/system and systemd/user."""
UNIX_SOCKETS: Final = "/proc/self/net/unix"
"""The kernel's table of Unix sockets: it shows paths in folders that the agent may not enter."""
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
check would wake up the agent, and these events contain command lines."""
COMPOSE: Final = ("com.docker.compose.", "io.podman.compose.")
"""Prefixes of the labels of Compose and of podman-compose, which sets some of them under both."""
COMPOSE_KEYS: Final = ("service", "project", "container-number", "oneoff")
SWARM_SERVICE: Final = "com.docker.swarm.service.name"
SWARM_SERVICE_ID: Final = "com.docker.swarm.service.id"
SWARM_TASK: Final = "com.docker.swarm.task.name"
SWARM_STACK: Final = "com.docker.stack.namespace"
UNIT: Final = "PODMAN_SYSTEMD_UNIT"
"""Podman's label for the unit that runs a container."""
_OTHER_LABELS: Final = frozenset(
    {UNIT, SWARM_SERVICE, SWARM_SERVICE_ID, SWARM_TASK, SWARM_STACK}
    | {prefix + key for prefix in COMPOSE for key in COMPOSE_KEYS}
)

IMAGE_ID: Final = "[0-9a-f]{64}"
"""Pattern of an image's id in a request."""
_IMAGE_ID: Final = re.compile(IMAGE_ID)


def gate_socket(engine: str) -> str:
    """Return the path of the socket of an engine's gate."""
    return f"{GATES}/{engine}.sock"


def is_gate(path: str) -> bool:
    """Return True if a path is the socket of a gate, whether it exists or not."""
    return path.startswith(f"{GATES}/")


def gate_unit(engine: str) -> str:
    """Return the path unit that starts a gate when the socket of its engine appears."""
    return f"koi-runtime-gate@{engine}.path"


def is_metadata_label(label: str) -> bool:
    """Return True for a label of the koi namespace, in any case, or of a reverse proxy."""
    return label[:4].lower() == "koi." or is_proxy_label(label)


def is_used_label(label: str) -> bool:
    """Return True if the agent reads a label; it never sees others, which may be secret."""
    return label in _OTHER_LABELS or is_metadata_label(label)


@frozen(kw_only=True)
class SocketUnit:
    """The socket unit of an engine, of the ``system`` or the ``user`` manager.

    ``folders`` are those of ``UNIT_FOLDERS``.
    """

    engine: str
    scope: str
    folders: Sequence[str] = UNIT_FOLDERS

    def advice(self) -> str:
        """Return what to do if the engine's socket does not exist, "" if it is not installed.

        The status, the journal, HTTP and doctor show this text.
        """
        unit = f"{self.engine}.socket"
        files = [Path(folder, "systemd", self.scope, unit) for folder in self.folders]
        file = next((file for file in files if file.exists() or file.is_symlink()), None)
        if file is None:
            return ""
        systemctl = "systemctl --user" if self.scope == "user" else "systemctl"
        if file.resolve() == Path("/dev/null"):
            return f"{unit} is masked; {systemctl} unmask {unit}"
        return f"{unit} is not active; {systemctl} enable --now {unit}"


def is_bound(path: str) -> bool:
    """Return True if a Unix socket is bound to a path, or if the kernel's table is not readable."""
    try:
        table = Path(UNIX_SOCKETS).read_text(errors="surrogateescape")
    except OSError:
        return True
    return any(line.endswith(f" {path}") for line in table.splitlines())


def image_id(text: str) -> str:
    """Return an image's id in the form for a request, or "" for another text."""
    digits = text.removeprefix("sha256:")
    return digits if _IMAGE_ID.fullmatch(digits) else ""
