"""The meaning of a unit's properties, for every version of systemd: pure rules, no I/O."""

from collections.abc import Container, Mapping
from dataclasses import dataclass, field
from operator import attrgetter
from typing import Any, Final, Self

from koi_agent.backends.systemd.manager import UnitStatus
from koi_agent.backends.systemd.selection import Selection
from koi_agent.bus.object_paths import decode, encode
from koi_agent.core.frozen import frozen
from koi_agent.core.instance import Health, Instance, InstanceState, KoiMetadata, PortMapping
from koi_agent.core.reach.filters import OPEN, AddressFilter
from koi_agent.core.traits import MACHINE_UNIT, UNIT

ROOT = "/org/freedesktop/systemd1/unit/"
BACKEND = "systemd"
RUNNING_STATES = frozenset({"active", "reloading", "activating", "deactivating", "refreshing"})
"""Values of ActiveState in which processes of a unit may run."""
READY_STATES = frozenset({"active", "reloading", "refreshing"})
"""Values of ActiveState that a Type=notify service reaches only after READY=1."""
FROZEN_STATES = frozenset({"frozen", "frozen-by-parent"})


@frozen(kw_only=True)
class UnitDetails:
    """Properties of a unit that systemd does not signal: those of its files, and its control group.

    ``awaits`` is the kind of the backend that may claim the unit: "podman" for Quadlet's units.
    ``may_restart`` is true where Restart= or an unreadable file lets systemd start the unit
    again by itself. ``notifies_ready`` is true where the service reports READY=1 or a bus name.
    ``address_filter`` is the unit's firewall. ``is_shown`` is false for a unit that the settings
    leave out, and that is followed for the metadata of the machine in it.
    """

    fragment_path: str = ""
    control_group: str = ""
    metadata: KoiMetadata = field(default_factory=KoiMetadata)
    awaits: str = ""
    may_restart: bool = True
    notifies_ready: bool = False
    address_filter: AddressFilter = OPEN
    notes: tuple[str, ...] = ()
    aliases: tuple[str, ...] = ()
    problems: tuple[str, ...] = ()
    is_shown: bool = True


@dataclass(slots=True, eq=False)
class Unit:
    """A unit as signals and lists describe it.

    ``reported`` is the instance that was delivered last, alone or in a list; None before the first
    and after the end of a run.

    ``control_group`` is the one that was read last. ``started_at`` is the time at which the
    unit last left ``inactive``, in seconds of the monotonic clock. ``restarts_at_start`` is
    NRestarts when the reported run started. ``is_loaded`` is false after UnitRemoved, and
    ``is_short_run`` is true if only the end of a run was received.
    """

    name: str
    path: str
    active_state: str = "inactive"
    sub_state: str = "dead"
    freezer_state: str = "running"
    invocation_id: bytes = b""
    main_pid: int = 0
    n_restarts: int = 0
    restarts_at_start: int = 0
    is_loaded: bool = True
    is_short_run: bool = False
    started_at: float = 0.0
    state_detail: str = ""
    control_group: str = ""
    reported: Instance | None = None
    control_group_requested_for: bytes = b""

    @classmethod
    def listed(cls, status: UnitStatus) -> Self:
        """Return a unit of which only a list is known."""
        unit = cls(status.name, status.path)
        unit.active_state, unit.sub_state = status.active_state, status.sub_state
        return unit

    def update(self, properties: Mapping[str, Any]) -> bool:
        """Store properties of the Unit and Service interfaces; others stay as they are.

        Returns True if any has another value than before.
        """
        get = properties.get
        before = _SIGNALED(self)
        self.is_loaded = True
        self.active_state = get("ActiveState", self.active_state)
        self.sub_state = get("SubState", self.sub_state)
        self.freezer_state = get("FreezerState", self.freezer_state)
        self.invocation_id = bytes(get("InvocationID", self.invocation_id))
        if microseconds := get("InactiveExitTimestampMonotonic"):
            self.started_at = microseconds / 1_000_000
        self.main_pid = get("MainPID", self.main_pid)
        self.n_restarts = get("NRestarts", self.n_restarts)
        return _SIGNALED(self) != before

    def unload(self) -> None:
        """Store that systemd has unloaded the unit: it is dead, and has no job."""
        self.update({"ActiveState": "inactive", "SubState": "dead", "MainPID": 0})
        self.is_loaded = False

    def is_running(self, *, track_exited: bool) -> bool:
        """Return True if the unit is an instance now, and then keep its states as text.

        Since version 254 a unit that is about to be restarted has a sub-state of its own while
        it is dead.
        """
        active = self.active_state in RUNNING_STATES
        running = active and (track_exited or self.sub_state != "exited")
        running = running or self.sub_state.endswith("-before-auto-restart")
        if running:
            self.state_detail = f"{self.active_state}/{self.sub_state}"
        return running

    def was_restarted(self) -> bool:
        """Return True if this run is not the reported one and was started by a job.

        A run that Restart= began counts in NRestarts and continues the same instance. A job,
        as of ``systemctl restart``, resets NRestarts to 0: that is a stop and a start.
        """
        reported = self.reported
        if reported is None or not reported.invocation_id or not self.invocation_id:
            return False
        return reported.invocation_id != self.invocation_id and self.n_restarts == 0

    @property
    def is_starting(self) -> bool:
        """True if a dead unit has a main process: its new state is signaled next."""
        return bool(self.main_pid) and self.sub_state == "dead" and self.is_loaded

    def cannot_restart(self, details: UnitDetails | None) -> bool:
        """Return True if a dead unit can't be between two runs that systemd makes one.

        systemd keeps a unit loaded while it has a job.
        """
        may_restart = details is None or details.may_restart or self.main_pid
        return not self.is_loaded or not may_restart

    def is_restart_queued(self) -> bool:
        """Return True if Restart= has queued a start, which lists of systemd 252 do not show."""
        return self.sub_state == "auto-restart-queued"

    def request_control_group(self, details: UnitDetails) -> bool:
        """Return True, once for each run, if the control group must be read.

        systemd 252 has none between two runs, and ``details`` may have been read then.
        """
        known = details.control_group or not self.main_pid
        if known or self.control_group_requested_for == self.invocation_id:
            return False
        self.control_group_requested_for = self.invocation_id
        return True

    def instance_state(self) -> InstanceState:
        """Return the state of the instance that this unit is."""
        if "auto-restart" in self.sub_state:
            return InstanceState.RESTARTING
        if self.freezer_state in FROZEN_STATES:
            return InstanceState.PAUSED
        return InstanceState.RUNNING

    def health(self, details: UnitDetails) -> Health:
        """Return the readiness that the service reports, ``NONE`` if it reports none.

        A watchdog that gets no ping ends in a restart, so it needs no health of its own.
        """
        if not details.notifies_ready or self.active_state == "deactivating":
            return Health.NONE
        return Health.HEALTHY if self.active_state in READY_STATES else Health.STARTING

    def instance(
        self,
        details: UnitDetails,
        ports: tuple[PortMapping, ...] = (),
        sockets: tuple[PortMapping, ...] = (),
    ) -> Instance:
        """Return the instance that this unit is now; ``sockets`` are ports of its socket units."""
        return Instance(
            id=self.name,
            name=self.name.removesuffix(".service"),
            backend=BACKEND,
            state=self.instance_state(),
            state_detail=self.state_detail,
            image=details.fragment_path,
            ports=ports,
            metadata=details.metadata,
            health=self.health(details),
            unit=self.name,
            aliases=details.aliases,
            control_group=details.control_group,
            main_pid=self.main_pid,
            invocation_id=self.invocation_id,
            awaits=details.awaits,
            notes=details.notes,
            problems=details.problems,
            ending=self.active_state == "deactivating",
            address_filter=details.address_filter,
            socket_ports=sockets,
            traits=UNIT if details.is_shown else MACHINE_UNIT,
        )


_SIGNALED: Final = attrgetter(
    *("active_state", "sub_state", "freezer_state", "invocation_id", "main_pid", "n_restarts"),
    *("started_at", "is_loaded"),
)
"""Reads what ``Unit.update`` stores."""


class UnitFilter:
    """Decides which units are followed, by name, and which of them run.

    ``accepting_prefixes`` are the prefixes of socket units with Accept=yes. Their services, one for
    each connection, are not followed. ``web.socket`` and ``web@9100.socket`` both start instances
    of ``web@.service``, because Service= can't be used with Accept=yes (systemd.socket(5)).
    """

    def __init__(self, selection: Selection, accepting_prefixes: Container[str]) -> None:
        self._selection = selection
        self._accepting_prefixes = accepting_prefixes

    def matches(self, name: str) -> bool:
        """Return True if a unit of this name is followed."""
        if name not in self._selection:
            return False
        is_instance = "@" in name and name.endswith(".service")
        return not (is_instance and unit_prefix(name) in self._accepting_prefixes)

    def matches_path(self, path: str) -> bool:
        """Return True if the signals of this object are read: a followed unit or any socket."""
        name = unit_name(path)
        return name.endswith(".socket") or self.matches(name)

    def is_running(self, unit: Unit) -> bool:
        """Return True if a followed unit is an instance now; see ``Unit.is_running``."""
        return unit.is_running(track_exited=self._selection.track_exited)


def unit_prefix(name: str) -> str:
    """Return the name of a unit without its instance and type."""
    prefix, at, _ = name.partition("@")
    return prefix if at else name.rpartition(".")[0]


def unit_path(name: str) -> str:
    """Return the object path of a unit."""
    return ROOT + encode(name)


def unit_name(path: str) -> str:
    """Return the name of the unit at an object path, or "" if the path is not a unit's."""
    return decode(path.removeprefix(ROOT)) if path.startswith(ROOT) else ""
