"""The units that are followed: those that the settings select, and those of machines."""

import re
from collections.abc import Iterable
from fnmatch import fnmatchcase
from functools import lru_cache
from typing import Final

from koi_agent.config import SystemdConfig
from koi_agent.host.machine_units import MachineUnits

PODMAN_HEALTH_CHECK: Final = re.compile(r"[0-9a-f]{64}(?:-[0-9a-f]+)?\.service")
"""Transient units that Podman starts for every health check of a container."""
NAMES_CACHED: Final = 1024
"""Unit names whose match is cached: one event asks several times."""
MOST_PATTERNS: Final = 16
"""Names in one call for a list: the manager compares each with all of its units."""


class Selection:
    """The units that are followed.

    Those of machines are followed for their metadata, even if the settings leave them out.
    ``track_exited`` is True if a unit that has exited and is active counts as running.
    """

    def __init__(self, config: SystemdConfig, machine_units: MachineUnits) -> None:
        self.track_exited = config.track_exited
        self.machine_units = machine_units
        self._config = config
        self._is_selected = lru_cache(maxsize=NAMES_CACHED)(self._select)

    def __contains__(self, name: str) -> bool:
        return name in self.machine_units or self._is_selected(name)

    def is_shown(self, name: str) -> bool:
        """Return True if the settings select a unit of this name."""
        return self._is_selected(name)

    def patterns(self) -> list[str]:
        """Return patterns that match all units that are followed, and perhaps others."""
        more = [one for one in self.machine_units if not _matches_any(one, self._config.units)]
        return [*self._config.units, *more] if len(more) <= MOST_PATTERNS else ["*"]

    def _select(self, name: str) -> bool:
        if _matches_any(name, self._config.exclude_units) or PODMAN_HEALTH_CHECK.fullmatch(name):
            return False
        return _matches_any(name, self._config.units)


def _matches_any(name: str, patterns: Iterable[str]) -> bool:
    return any(fnmatchcase(name, pattern) for pattern in patterns)
