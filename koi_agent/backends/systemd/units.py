"""What a unit's states mean, on every version of systemd: pure rules, no I/O."""

import re
from collections.abc import Container, Iterable, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from functools import lru_cache
from typing import Any

from koi_agent.bus.object_paths import decode
from koi_agent.config import SystemdConfig
from koi_agent.core.instance import UNIT, Health, Instance, InstanceState, KoiMetadata, PortMapping

ROOT = "/org/freedesktop/systemd1/unit/"
BACKEND = "systemd"
ACTIVE = frozenset({"active", "reloading", "activating", "deactivating", "refreshing"})
READY = frozenset({"active", "reloading", "refreshing"})
PAUSED = frozenset({"frozen", "frozen-by-parent"})
_HEALTH_CHECK = re.compile(r"[0-9a-f]{64}(?:-[0-9a-f]+)?\.service")
NAMES_KEPT = 1024
"""Unit names of which is remembered whether they are followed: one event asks several times."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Details:
    """What changes with a unit's files only: systemd says it when asked, never by itself.

    ``awaits`` names the backend that may claim the unit, as Quadlet's are Podman's.
    ``restarts`` says that systemd may start the unit again by itself, ``tells`` that the service
    tells systemd when it is ready.
    """

    fragment: str = ""
    control_group: str = ""
    metadata: KoiMetadata = field(default_factory=KoiMetadata)
    awaits: str = ""
    restarts: bool = True
    tells: bool = False
    notes: tuple[str, ...] = ()


@dataclass(slots=True, eq=False)
class Unit:
    """A unit as its signals tell of it; ``told`` is what was last said of it onwards.

    ``group`` is its control group, as far as it was asked for.

    ``began`` is when it last left ``inactive``, in seconds of the monotonic clock.
    """

    name: str
    path: str
    active: str = "inactive"
    sub: str = "dead"
    freezer: str = "running"
    invocation: bytes = b""
    main_pid: int = 0
    restarts: int = 0
    began: float = 0.0
    detail: str = ""
    group: str = ""
    told: Instance | None = None
    group_asked: bytes = b""

    def note(self, values: Mapping[str, Any]) -> None:
        """Take properties of the Unit and Service interfaces by their own names."""
        self.active = values.get("ActiveState", self.active)
        self.sub = values.get("SubState", self.sub)
        self.freezer = values.get("FreezerState", self.freezer)
        self.invocation = bytes(values.get("InvocationID", self.invocation))
        if began := values.get("InactiveExitTimestampMonotonic"):
            self.began = began / 1_000_000
        self.main_pid = values.get("MainPID", self.main_pid)
        self.restarts = values.get("NRestarts", self.restarts)

    def runs(self, *, track_exited: bool) -> bool:
        """Tell whether the unit is an instance now, and keep the words for it if so.

        From systemd 254 on, a unit about to be restarted says so even while it is dead.
        """
        active = self.active in ACTIVE and (track_exited or self.sub != "exited")
        runs = active or self.sub.endswith("-before-auto-restart")
        if runs:
            self.detail = f"{self.active}/{self.sub}"
        return runs

    def restarted(self) -> bool:
        """Tell whether this run is another than the one told of.

        A run that ``Restart=`` began counts in NRestarts and goes on under the same object;
        one that somebody asked for sets it to 0, and is a stop and a start.
        """
        told = self.told
        if told is None or not told.invocation_id or not self.invocation:
            return False
        return told.invocation_id != self.invocation and self.restarts == 0

    def wants_group(self, details: Details) -> bool:
        """Tell, once for each run, whether to ask for the control group.

        systemd 252 has none for a unit between two runs, when it may have been asked first.
        """
        if details.control_group or not self.main_pid or self.group_asked == self.invocation:
            return False
        self.group_asked = self.invocation
        return True

    def state(self) -> InstanceState:
        """Put systemd's words into ours."""
        if "auto-restart" in self.sub:
            return InstanceState.RESTARTING
        return InstanceState.PAUSED if self.freezer in PAUSED else InstanceState.RUNNING

    def health(self, details: Details) -> Health:
        """Put readiness into a word; of a service that says nothing systemd knows no more either.

        A watchdog that is not pinged ends in a restart, so it needs no word of its own.
        """
        if not details.tells or self.active == "deactivating":
            return Health.NONE
        return Health.HEALTHY if self.active in READY else Health.STARTING

    def instance(self, details: Details, ports: tuple[PortMapping, ...] = ()) -> Instance:
        """Make what others see of this unit."""
        return Instance(
            id=self.name,
            name=self.name.removesuffix(".service"),
            backend=BACKEND,
            state=self.state(),
            state_detail=self.detail,
            image=details.fragment,
            ports=ports,
            metadata=details.metadata,
            health=self.health(details),
            unit=self.name,
            control_group=details.control_group,
            main_pid=self.main_pid,
            invocation_id=self.invocation,
            awaits=details.awaits,
            notes=details.notes,
            ending=self.detail.startswith("deactivating/"),
            traits=UNIT,
        )

    def say(self, instance: Instance) -> None:
        """Note what is told of the unit from now on."""
        self.told = instance


class Patterns:
    """Which unit names are followed; ``accepting`` are sockets with a service a connection."""

    def __init__(self, config: SystemdConfig, accepting: Container[str]) -> None:
        self._config = config
        self._accepting = accepting
        self._named = lru_cache(maxsize=NAMES_KEPT)(self._is_named)

    def match(self, name: str) -> bool:
        """Tell whether a unit of this name is followed."""
        if not self._named(name):
            return False
        prefix, at, _ = name.partition("@")
        return not (at and f"{prefix}.socket" in self._accepting)

    def _is_named(self, name: str) -> bool:
        """Tell by the name alone; Podman's health checks are no services, and run all the time."""
        if _any(name, self._config.exclude_units) or _HEALTH_CHECK.fullmatch(name):
            return False
        return _any(name, self._config.units)

    def wants(self, path: str) -> bool:
        """Tell whether signals of a unit's object are worth reading."""
        name = unit_name(path)
        return name.endswith(".socket") or self.match(name)


def _any(name: str, patterns: Iterable[str]) -> bool:
    return any(fnmatchcase(name, pattern) for pattern in patterns)


def unit_name(path: str) -> str:
    """Tell the name of the unit an object path is of; "" where it is none."""
    return decode(path.removeprefix(ROOT)) if path.startswith(ROOT) else ""
