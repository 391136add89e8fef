"""What the Manager's methods do: look things up in what has been told, and pass on wishes."""

import json
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from koi_agent.bus.client import CallError
from koi_agent.bus.interfaces import (
    Call,
    Emits,
    ErrorReply,
    Interface,
    Method,
    Property,
    interface,
)
from koi_agent.bus.messages import Variant
from koi_agent.bus.writer import BusLost
from koi_agent.core.dbus_names import MANAGER, NAME
from koi_agent.core.errors import BackendLost, ConfigError
from koi_agent.core.events import BackendState, BackendStatus
from koi_agent.core.instance import Instance
from koi_agent.core.plan.records import Decision
from koi_agent.core.schema import explanation_of
from koi_agent.publishers.dbus.interfaces import EVENTS
from koi_agent.publishers.dbus.names import backend_path, instance_path

SYSTEMD = (
    "org.freedesktop.systemd1",
    "/org/freedesktop/systemd1",
    "org.freedesktop.systemd1.Manager",
)
INVALID = "org.freedesktop.DBus.Error.InvalidArgs"
FILTERS: dict[str, Callable[[Instance], str]] = {
    "name": lambda i: i.name,
    "unit": lambda i: i.unit,
    "backend": lambda i: i.backend,
    "state": lambda i: str(i.state),
    "health": lambda i: str(i.health),
}
"""What FindInstances can ask for."""


@dataclass(frozen=True, slots=True)
class ManagerActions:
    """What clients may ask of the agent.

    ``resync`` lists a backend, or all for "", and tells what was different; it raises
    ``BackendLost``. ``reload`` reads the configuration anew; it raises ``ConfigError``.
    ``decisions`` tells what was decided of an instance.
    """

    resync: Callable[[str], Awaitable[Mapping[str, Mapping[str, str]]]]
    reload: Callable[[], Awaitable[None]]
    decisions: Callable[[str], Sequence[Decision]]


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentStatus:
    """What the Manager object shows of the agent as a whole.

    ``phase`` is starting, reloading or stopping, "" while the agent serves.
    """

    version: str
    phase: str
    backends: tuple[BackendStatus, ...]
    instances: int
    generation: int

    @property
    def active(self) -> bool:
        return any(backend.state is BackendState.SYNCED for backend in self.backends)

    @property
    def words(self) -> tuple[str, bool, list[str]]:
        """Tell what is more than a count, and told at once."""
        return self.state, self.active, [backend.name for backend in self.backends]

    @property
    def state(self) -> str:
        """Put the phase and the backends' states into one word."""
        fine = (BackendState.SYNCED, BackendState.ABSENT)
        serving = "running" if all(b.state in fine for b in self.backends) else "degraded"
        return self.phase or serving


FACTS = (
    Property("Version", "s", Emits.CONST, lambda facts: facts.version),
    Property("Active", "b", Emits.TRUE, lambda facts: facts.active),
    Property("State", "s", Emits.TRUE, lambda facts: facts.state),
    Property("Backends", "as", Emits.TRUE, lambda facts: [b.name for b in facts.backends]),
    Property("InstanceCount", "u", Emits.TRUE, lambda facts: facts.instances),
    Property("Generation", "t", Emits.FALSE, lambda facts: facts.generation),
)


class Manager:
    """Methods of the root object.

    ``told`` is what clients have been told of, by key; ``of_unit`` finds what a unit is.
    """

    def __init__(
        self,
        told: Callable[[], Mapping[str, Instance]],
        backends: Callable[[], Mapping[str, BackendStatus]],
        of_unit: Callable[[str], Sequence[Instance]],
        wishes: ManagerActions,
    ) -> None:
        self._told = told
        self._backends = backends
        self._of_unit = of_unit
        self._wishes = wishes

    def interface(self) -> Interface:
        """Write the methods, properties and signals down."""
        members = (*self._lists(), *self._questions(), *self._privileged())
        return interface(MANAGER, *members, *FACTS, *EVENTS)

    def _lists(self) -> Sequence[Method]:
        return (
            Method(name="ListInstances", handle=self._list, returns=(("instances", "a(ssssso)"),)),
            Method(
                name="FindInstances",
                handle=self._find,
                takes=(("filter", "a{sv}"),),
                returns=(("paths", "ao"),),
            ),
            Method(
                name="ListBackends", handle=self._list_backends, returns=(("backends", "a(ssuo)"),)
            ),
        )

    def _privileged(self) -> Sequence[Method]:
        return (
            Method(
                name="Resync",
                handle=self._resync,
                takes=(("backend", "s"), ("options", "a{sv}")),
                returns=(("result", "a{sv}"),),
                action=f"{NAME}.resync",
            ),
            Method(name="Reload", handle=self._reload, action=f"{NAME}.reload"),
        )

    def _questions(self) -> Sequence[Method]:
        path = (("path", "o"),)
        text = (("explanation", "s"),)
        return (
            Method(name="GetInstance", handle=self._get, takes=(("id", "s"),), returns=path),
            Method(
                name="GetInstanceByName", handle=self._by_name, takes=(("name", "s"),), returns=path
            ),
            Method(
                name="GetInstanceByUnit", handle=self._by_unit, takes=(("unit", "s"),), returns=path
            ),
            Method(
                name="GetInstanceByPID", handle=self._by_pid, takes=(("pid", "u"),), returns=path
            ),
            Method(name="Explain", handle=self._explain, takes=(("id", "s"),), returns=text),
        )

    def _list(self, _call: Call) -> Sequence[Any]:
        rows = [
            [i.id, i.name, i.backend, str(i.state), str(i.health), instance_path(key)]
            for key, i in sorted(self._told().items())
        ]
        return (rows,)

    def _list_backends(self, _call: Call) -> Sequence[Any]:
        rows = [
            [b.name, str(b.state), b.instances, backend_path(b.name)]
            for b in self._backends().values()
        ]
        return (rows,)

    def _find(self, _call: Call, wanted: Mapping[str, Variant]) -> Sequence[Any]:
        for key, value in wanted.items():
            if key not in FILTERS:
                text = f"can't filter by '{key}'; known: {', '.join(FILTERS)}"
                raise ErrorReply(INVALID, text)
            if value.signature != "s":
                raise ErrorReply(INVALID, f"filter '{key}' takes a string")
        found = [
            instance_path(key)
            for key, instance in sorted(self._told().items())
            if all(FILTERS[name](instance) == value.value for name, value in wanted.items())
        ]
        return (found,)

    def _get(self, _call: Call, asked: str) -> Sequence[str]:
        return (instance_path(self._instance(asked).key),)

    def _by_name(self, _call: Call, name: str) -> Sequence[str]:
        found = [i for i in self._told().values() if i.name == name]
        return (instance_path(_only(found, f"instance named '{name}'").key),)

    def _by_unit(self, _call: Call, unit: str) -> Sequence[str]:
        return (instance_path(_only(self._of_unit(unit), f"instance of unit '{unit}'").key),)

    async def _by_pid(self, call: Call, pid: int) -> Sequence[str]:
        missing = ErrorReply(f"{NAME}.NoInstanceForPID", f"no instance has process {pid}")
        if pid == 0:
            raise ErrorReply(INVALID, "0 is no process")
        try:
            (path,) = await call.connection.call(SYSTEMD, "GetUnitByPID", "u", (pid,))
            unit = await call.connection.get(
                SYSTEMD[0], path, "org.freedesktop.systemd1.Unit", "Id"
            )
        except CallError as error:
            raise missing from error
        except (BusLost, TimeoutError) as error:
            text = "systemd does not answer"
            raise ErrorReply(f"{NAME}.BackendUnavailable", text) from error
        found = list(self._of_unit(str(unit)))
        if not found:
            raise missing
        return (instance_path(_only(found, f"instance with process {pid}").key),)

    def _explain(self, _call: Call, asked: str) -> Sequence[str]:
        instance = self._instance(asked)
        said = explanation_of(instance, self._wishes.decisions(instance.key))
        return (json.dumps(said, ensure_ascii=False),)

    async def _resync(
        self, _call: Call, backend: str, _options: Mapping[str, Variant]
    ) -> Sequence[Any]:
        if backend and backend not in self._backends():
            raise ErrorReply(INVALID, f"no backend '{backend}'")
        try:
            different = await self._wishes.resync(backend)
        except BackendLost as lost:
            raise ErrorReply(f"{NAME}.BackendUnavailable", str(lost)) from lost
        ways = [way for ids in different.values() for way in ids.values()]
        result = {way: Variant("u", ways.count(way)) for way in ("added", "changed", "removed")}
        return (result,)

    async def _reload(self, _call: Call) -> Sequence[Any]:
        try:
            await self._wishes.reload()
        except ConfigError as error:
            raise ErrorReply(f"{NAME}.BadConfiguration", str(error)) from error
        return ()

    def _instance(self, asked: str) -> Instance:
        """Find an instance by ``backend:id``, or by an id of whatever backend."""
        told = self._told()
        if asked in told:
            return told[asked]
        found = [i for name in self._backends() if (i := told.get(f"{name}:{asked}"))]
        return _only(found, f"instance '{asked}'")


def _only(found: Sequence[Instance], what: str) -> Instance:
    """Take the one instance that was found, or say what is wrong."""
    if not found:
        raise ErrorReply(f"{NAME}.NoSuchInstance", f"no {what}")
    if len(found) > 1:
        keys = ", ".join(sorted(instance.key for instance in found))
        raise ErrorReply(f"{NAME}.AmbiguousName", f"more than one {what}: {keys}")
    return found[0]
