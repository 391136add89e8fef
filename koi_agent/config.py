"""What the agent was asked to do: environment and flags, one frozen ``Config``."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field

from koi_agent.core.errors import ConfigError

BACKENDS = ("systemd",)
ACCEPTED = ("auto", *BACKENDS)


@dataclass(frozen=True, slots=True, kw_only=True)
class SystemdConfig:
    """Which units are followed: names that match ``units`` and not ``exclude_units``.

    Both are lists of systemd's own glob patterns. ``track_exited`` follows units that are
    ``active/exited``, too.
    """

    units: tuple[str, ...] = ("*.service",)
    exclude_units: tuple[str, ...] = (
        "user@*.service",
        "user-runtime-dir@*.service",
        "systemd-*.service",
    )
    track_exited: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """Everything that can be set; ``resync_interval`` is seconds between full lists."""

    scope: str
    backends: tuple[str, ...]
    resync_interval: float = 60.0
    systemd: SystemdConfig = field(default_factory=SystemdConfig)


def backends(asked: str) -> tuple[str, ...]:
    """Read a ``--runtime`` list; ``auto`` is every runtime. Raises ``ConfigError``."""
    names = [name.strip().lower() for name in asked.split(",")]
    for name in names:
        if name not in ACCEPTED:
            raise ConfigError(f"runtime '{name}' is not known; accepted: {', '.join(ACCEPTED)}")
    return BACKENDS if "auto" in names else tuple(dict.fromkeys(names))


def scope(asked: str | None) -> str:
    """Decide between the system's manager and the user's: root's is the system's."""
    return asked or ("system" if os.getuid() == 0 else "user")


def config(
    asked_scope: str | None,
    runtime: str | None,
    environment: Mapping[str, str],
    *,
    no_runtime: bool = False,
) -> Config:
    """Put flags over environment over defaults; raises ``ConfigError``."""
    wanted = runtime or environment.get("KOI_RUNTIME") or "auto"
    try:
        named = backends(wanted)
    except ConfigError as error:
        where = "--runtime" if runtime else "KOI_RUNTIME"
        raise ConfigError(f"{where}: {error}") from error
    none = no_runtime or _is_set(environment.get("KOI_NO_RUNTIME", ""))
    return Config(scope=scope(asked_scope), backends=() if none else named)


def _is_set(value: str) -> bool:
    return value.strip().lower() in ("1", "yes", "y", "true", "t", "on")
