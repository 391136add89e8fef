"""Runtimes that can be followed: one module or package each, and the table of them."""

import os
from collections.abc import Callable

from koi_agent.backends.systemd import Systemd
from koi_agent.bus.client import ReconnectingBus
from koi_agent.config import Config
from koi_agent.core.contracts import Backend
from koi_agent.host.listeners import ListenerTable

Make = Callable[[ReconnectingBus, Config, ListenerTable], Backend]


def _docker(_bus: ReconnectingBus, config: Config, listeners: ListenerTable) -> Backend:
    return _engine("docker", "docker", config.docker.socket, config.scope, listeners)


def _podman(_bus: ReconnectingBus, config: Config, listeners: ListenerTable) -> Backend:
    return _engine("podman", "podman", config.podman.socket, config.scope, listeners)


def _engine(name: str, kind: str, socket: str, scope: str, listeners: ListenerTable) -> Backend:
    """Return a backend of the given kind, ``docker`` or ``podman``, under its own name."""
    # Imported only where an engine is followed: aiohttp takes 16 MB and 0.15 s.
    from koi_agent.backends.docker import Docker  # noqa: PLC0415
    from koi_agent.backends.docker.kinds import KINDS  # noqa: PLC0415
    from koi_agent.backends.docker.sockets import find_candidates  # noqa: PLC0415

    candidates = find_candidates(KINDS[kind], socket, scope, os.environ)
    return Docker(name, KINDS[kind], candidates, listeners)


BACKENDS: dict[str, Make] = {
    "docker": _docker,
    "podman": _podman,
    "systemd": lambda bus, config, listeners: Systemd(bus, config.systemd, listeners),
}
