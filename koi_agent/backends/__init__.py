"""The table of backends: one package each, or one for several that share an API.

A backend is loaded when it is followed. What it needs takes as long to load as the rest of the
agent, and as much memory.
"""

import os
from collections.abc import Callable, Mapping
from dataclasses import field
from functools import partial
from typing import Final

from koi_agent.bus.address import address
from koi_agent.bus.client import ReconnectingBus
from koi_agent.config import BACKENDS as SETTINGS
from koi_agent.config import (
    Config,
    EngineConfig,
    IncusConfig,
    KubernetesConfig,
    MachinedConfig,
    SystemdConfig,
)
from koi_agent.core.contracts import Backend
from koi_agent.core.frozen import frozen
from koi_agent.host.identity import specifiers
from koi_agent.host.listeners import ListenerTable
from koi_agent.host.machine_units import MachineUnits


@frozen()
class Shared:
    """The listeners of this host, and the units of its machines: shared by several backends."""

    listeners: ListenerTable = field(default_factory=ListenerTable)
    machine_units: MachineUnits = field(default_factory=MachineUnits)


Make = Callable[[ReconnectingBus, Config, Shared], Backend]


def _engine(kind: str, _bus: ReconnectingBus, config: Config, shared: Shared) -> Backend:
    from koi_agent.backends.docker import Docker  # noqa: PLC0415
    from koi_agent.backends.docker.kinds import KINDS  # noqa: PLC0415
    from koi_agent.backends.docker.sockets import find_candidates  # noqa: PLC0415

    socket = config.backend(kind, EngineConfig).socket
    candidates = find_candidates(KINDS[kind], socket, config.scope, os.environ)
    image_labels = config.capabilities.image_labels
    return Docker(kind, KINDS[kind], candidates, shared.listeners, image_labels=image_labels)


def _incus(kind: str, _bus: ReconnectingBus, config: Config, _shared: Shared) -> Backend:
    from koi_agent.backends.incus import Incus  # noqa: PLC0415
    from koi_agent.backends.incus.activation import Activation  # noqa: PLC0415
    from koi_agent.backends.incus.kinds import KINDS  # noqa: PLC0415
    from koi_agent.backends.incus.projects import Projects  # noqa: PLC0415
    from koi_agent.backends.incus.sockets import find_sockets  # noqa: PLC0415

    settings = config.backend(kind, IncusConfig)
    return Incus(
        kind,
        KINDS[kind],
        find_sockets(KINDS[kind], settings.socket, config.scope),
        Projects(settings.projects),
        Activation(address("system")),
    )


def _systemd(_kind: str, bus: ReconnectingBus, config: Config, shared: Shared) -> Backend:
    from koi_agent.backends.systemd import Systemd  # noqa: PLC0415
    from koi_agent.backends.systemd.unit_files import UnitFileReader  # noqa: PLC0415

    has_started_us = "INVOCATION_ID" in os.environ
    files = UnitFileReader(specifiers(config.scope, os.environ))
    return Systemd(
        *(bus, config.systemd, files, shared.listeners, shared.machine_units),
        has_started_us=has_started_us,
    )


def _machined(_kind: str, bus: ReconnectingBus, config: Config, shared: Shared) -> Backend:
    from koi_agent.backends.machined import Machined  # noqa: PLC0415

    return Machined(bus, config.machined, shared.listeners, shared.machine_units)


def _kubernetes(kind: str, _bus: ReconnectingBus, config: Config, shared: Shared) -> Backend:
    from koi_agent.backends.kubernetes import Kubernetes  # noqa: PLC0415
    from koi_agent.backends.kubernetes.credentials import find_credentials  # noqa: PLC0415

    settings = config.kubernetes
    credentials = find_credentials(settings.kubeconfig, os.environ)
    host = os.uname().nodename.lower()
    return Kubernetes(kind, settings, credentials, host, shared.listeners)


_BY_SETTINGS: Final[Mapping[type, Callable[..., Backend]]] = {
    EngineConfig: _engine,
    IncusConfig: _incus,
    KubernetesConfig: _kubernetes,
    MachinedConfig: _machined,
    SystemdConfig: _systemd,
}
"""How a backend is created, by the type of its settings: a new type is a new row."""
BACKENDS: Final[Mapping[str, Make]] = {
    kind: partial(_BY_SETTINGS[settings], kind) for kind, settings in SETTINGS.items()
}
"""How each backend is created, by kind. The kinds are the fields of ``Config``."""
