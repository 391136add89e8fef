"""The table of backends: one package each, or one for several that share an API."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Final

from koi_agent.backends.systemd import Systemd
from koi_agent.bus.client import ReconnectingBus
from koi_agent.config import BACKENDS as NAMES
from koi_agent.config import Config, EngineConfig, SystemdConfig
from koi_agent.core.contracts import Backend
from koi_agent.host.listeners import ListenerTable

Make = Callable[[ReconnectingBus, Config, ListenerTable], Backend]


def _engine(name: str, _bus: ReconnectingBus, config: Config, listeners: ListenerTable) -> Backend:
    # Imported here because it takes 16 MB and 0.15 s, and only some hosts have an engine.
    from koi_agent.backends.docker import Docker  # noqa: PLC0415

    return Docker(name, config, listeners)


def _systemd(_name: str, bus: ReconnectingBus, config: Config, listeners: ListenerTable) -> Backend:
    return Systemd(bus, config.systemd, listeners)


_BY_SETTINGS: Final[Mapping[type, Callable[..., Backend]]] = {
    EngineConfig: _engine,
    SystemdConfig: _systemd,
}
"""How a backend is created, by the type of its settings: a new type is a new row."""
BACKENDS: Final[Mapping[str, Make]] = {
    name: partial(_BY_SETTINGS[settings], name) for name, settings in NAMES.items()
}
"""How each backend is created, by name. The names are those of the fields in ``Config``."""
