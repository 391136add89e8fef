"""What the agent was asked to do: environment and flags, one frozen ``Config``."""

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TypeVar

from koi_agent.core.errors import BadInput, ConfigError
from koi_agent.core.values import unit_boolean

T = TypeVar("T")

BACKENDS = ("systemd",)
"""What this version can follow, and what ``auto`` means."""
RUNTIMES = ("docker", "podman", "systemd", "incus", "kubernetes")
ACCEPTED = ("auto", *RUNTIMES)
ALIASES = {"lxc": "incus", "lxd": "incus", "k8s": "kubernetes"}
LOG_LEVELS = {"debug": 10, "info": 20, "notice": 25, "warning": 30, "err": 40}
"""systemd's names for them, and logging's numbers."""


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
    """Everything that can be set; ``resync_interval`` is seconds between full lists.

    ``log_level`` is a number of ``logging``.
    """

    scope: str
    backends: tuple[str, ...]
    log_level: int = LOG_LEVELS["info"]
    resync_interval: float = 60.0
    systemd: SystemdConfig = field(default_factory=SystemdConfig)


def backends(asked: str) -> tuple[str, ...]:
    """Read a ``--runtime`` list; ``auto`` is every runtime. Raises ``ConfigError``."""
    names = [_runtime(word.strip()) for word in asked.split(",")]
    return BACKENDS if "auto" in names else tuple(dict.fromkeys(names))


def _runtime(word: str) -> str:
    name = ALIASES.get(word.lower(), word.lower())
    if name not in ACCEPTED:
        raise ConfigError(f"{word!r} is no runtime; accepted: {', '.join(ACCEPTED)}")
    if name not in ("auto", *BACKENDS):
        raise ConfigError(
            f"this version can't follow {name} yet; it can follow: {', '.join(BACKENDS)}"
        )
    return name


def scope(asked: str | None) -> str:
    """Decide between the system's manager and the user's: root's is the system's."""
    return asked or ("system" if os.getuid() == 0 else "user")


def config(
    asked_scope: str | None,
    runtime: str | None,
    environment: Mapping[str, str],
    *,
    no_runtime: bool = False,
    log_level: str | None = None,
) -> Config:
    """Put flags over environment over defaults; raises ``ConfigError``.

    An empty variable is as good as none, an empty flag is not.
    """
    named = _said(("--runtime", runtime), "KOI_RUNTIME", environment, backends)
    none = no_runtime or _said(("", None), "KOI_NO_RUNTIME", environment, unit_boolean)
    level = _said(("--log-level", log_level), "KOI_LOG_LEVEL", environment, _log_level)
    return Config(
        scope=scope(asked_scope),
        backends=() if none else named or BACKENDS,
        log_level=level or LOG_LEVELS["info"],
    )


def _said(
    flag: tuple[str, str | None],
    variable: str,
    environment: Mapping[str, str],
    read: Callable[[str], T],
) -> T | None:
    """Read what a flag says, or else a variable; ``None`` where neither says anything."""
    name, text = flag
    if text is None:
        name, text = variable, environment.get(variable) or None
    try:
        return None if text is None else read(text)
    except (BadInput, ConfigError) as error:
        raise ConfigError(f"{name}: {error}") from error


def _log_level(word: str) -> int:
    if word.lower() not in LOG_LEVELS:
        raise ConfigError(f"{word!r} is no log level; accepted: {', '.join(LOG_LEVELS)}")
    return LOG_LEVELS[word.lower()]
