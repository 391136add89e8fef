"""Runtimes that can be followed: one module or package each, and the table of them."""

from collections.abc import Callable

from koi_agent.backends.systemd import Systemd
from koi_agent.bus.client import Bus
from koi_agent.config import Config
from koi_agent.core.contracts import Backend

BACKENDS: dict[str, Callable[[Bus, Config], Backend]] = {
    "systemd": lambda bus, config: Systemd(bus, config.systemd),
}
