"""The configuration: options override the environment, which overrides files and defaults.

``sections`` and ``settings`` declare all settings, ``keys`` how they are declared. ``readers``
parse values, ``files`` finds the files, ``loading`` builds one frozen ``Config`` with the origin of
each value. ``template`` prints the koi-runtime.conf that is shipped.
"""

from koi_agent.config.keys import Key
from koi_agent.config.kubernetes import KubernetesConfig
from koi_agent.config.loading import Loaded, load
from koi_agent.config.readers import Listen
from koi_agent.config.sections import (
    EngineConfig,
    HTTPConfig,
    IncusConfig,
    MachinedConfig,
    SystemdConfig,
)
from koi_agent.config.settings import (
    ACCEPTED,
    BACKENDS,
    KEYS,
    Config,
    FlagError,
    Flags,
    Origin,
    Setting,
    scope,
)

__all__ = [
    "ACCEPTED",
    "BACKENDS",
    "KEYS",
    "Config",
    "EngineConfig",
    "FlagError",
    "Flags",
    "HTTPConfig",
    "IncusConfig",
    "Key",
    "KubernetesConfig",
    "Listen",
    "Loaded",
    "MachinedConfig",
    "Origin",
    "Setting",
    "SystemdConfig",
    "load",
    "scope",
]
