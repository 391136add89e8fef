"""The configuration as the Manager's properties show it."""

from collections.abc import Iterable
from dataclasses import replace
from typing import Self

from koi_agent.config import Setting
from koi_agent.core.frozen import frozen


@frozen()
class ConfigurationStatus:
    """The settings in force, and the error of the last reload.

    Each setting has its section, key, value and origin. ``reload_error`` is "" if the last reload
    succeeded or none was requested.
    """

    settings: tuple[tuple[str, str, str, str], ...] = ()
    reload_error: str = ""

    @classmethod
    def in_force(cls, settings: Iterable[Setting]) -> Self:
        """Return the status after settings were applied."""
        return cls(tuple((one.section, one.key, one.value, str(one.origin)) for one in settings))

    def refused(self, error: str) -> Self:
        """Return the status after a reload was refused: the settings stay in force."""
        return replace(self, reload_error=error)
