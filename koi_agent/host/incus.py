"""Incus and LXD: their sockets, and which of their events and keys are used.

The Incus backend requests only these, and the gate in front of a server passes only these. Neither
imports the other, so both import this.
"""

import re
from typing import Final
from urllib.parse import quote

from koi_agent.core.metadata.keys import CONFIG_KEY
from koi_agent.core.text import UNSAFE

SERVERS: Final = {
    "incus": ("/var/lib/incus/unix.socket",),
    "lxd": ("/var/lib/lxd/unix.socket", "/var/snap/lxd/common/lxd/unix.socket"),
}
"""Sockets of the servers, Debian's package first."""

LIST: Final = "/1.0/instances?recursion=2&all-projects=true"
EVENTS: Final = "/1.0/events?type=lifecycle&all-projects=true"
"""The requests for all instances with their state, and for what happens to them."""

NETWORKS: Final = "/1.0/networks?recursion=1&all-projects=true"
FORWARDS, BALANCERS = "forwards", "load-balancers"
"""The last part of the request for the forwards of a network, and for its load balancers."""

INSTANCE_ACTIONS: Final = frozenset(
    f"instance-{action}"
    for action in (
        *("created", "deleted", "evacuated", "migrated", "paused", "ready", "renamed"),
        *("restarted", "restored", "resumed", "shutdown", "started", "stopped", "updated"),
    )
)
"""Events that change an instance. Others, such as ``instance-exec``, are frequent."""
NETWORK_ACTIONS: Final = frozenset(
    f"network-{kind}-{action}"
    for kind in ("forward", "load-balancer")
    for action in ("created", "updated", "deleted")
)
"""Events after which the ports of instances may have changed."""

VARIABLE: Final = "environment.KOI_MDNS_ANNOUNCE"
"""The key of the one variable that is for the agent."""
_IMAGE: Final = frozenset({"image.description", "image.os", "image.release"})
_HARDWARE_ADDRESS: Final = re.compile(r"volatile\.[^.]+\.hwaddr")
_NAME: Final = re.compile("[A-Za-z0-9-]{1,63}")
_NETWORK: Final = re.compile("[A-Za-z0-9._-]{1,63}")
_PROJECT: Final = re.compile(r"[^\s/]{1,100}")


def is_used_key(key: str) -> bool:
    """Return True if the agent reads a key of an instance's expanded configuration."""
    return (
        key[: len(CONFIG_KEY.prefix)].lower() == CONFIG_KEY.prefix
        or key == VARIABLE
        or key in _IMAGE
        or bool(_HARDWARE_ADDRESS.fullmatch(key))
    )


def is_instance_name(name: str) -> bool:
    """Return True for a name that a server gives an instance: that of a host."""
    return bool(_NAME.fullmatch(name))


def is_project_name(project: str) -> bool:
    """Return True for a name that a server may give a project."""
    return bool(_PROJECT.fullmatch(project)) and not UNSAFE.search(project)


def is_network_name(name: str) -> bool:
    """Return True for a name that a server may give a network."""
    return bool(_NETWORK.fullmatch(name)) and name not in (".", "..")


def network_path(project: str, name: str, part: str) -> str:
    """Return the request for ``FORWARDS`` or ``BALANCERS`` of a network."""
    return f"/1.0/networks/{name}/{part}?recursion=1&project={quote(project, safe='')}"


def instance_path(project: str, name: str) -> str:
    """Return the request for one instance with its state."""
    return f"/1.0/instances/{name}?recursion=1&project={quote(project, safe='')}"
