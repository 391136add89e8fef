"""Everything that can be set: flags over environment over files over defaults.

``keys`` is the table, ``readers`` read values, ``files`` finds files, and ``loading`` puts it
all together into one frozen ``Config`` that knows who said what.
"""

from koi_agent.config.keys import KEYS, Key
from koi_agent.config.loading import Loaded, load
from koi_agent.config.readers import ACCEPTED, RUNTIMES
from koi_agent.config.settings import (
    BACKENDS,
    Config,
    FlagError,
    Flags,
    HTTPConfig,
    Listen,
    Origin,
    Setting,
    SystemdConfig,
    scope,
)

__all__ = [
    "ACCEPTED",
    "BACKENDS",
    "KEYS",
    "RUNTIMES",
    "Config",
    "FlagError",
    "Flags",
    "HTTPConfig",
    "Key",
    "Listen",
    "Loaded",
    "Origin",
    "Setting",
    "SystemdConfig",
    "load",
    "scope",
]
