"""The root object's methods and properties."""

import json
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any

from koi_agent.bus.errors import BusLost, CallError
from koi_agent.bus.interfaces import (
    Call,
    ErrorReply,
    Interface,
    Method,
    interface,
)
from koi_agent.bus.marshalling import Typed
from koi_agent.bus.messages import marshal
from koi_agent.core.dbus_names import MANAGER, NAME
from koi_agent.core.errors import BackendLost, BadInput, ConfigError
from koi_agent.core.event_queue import EventQueue
from koi_agent.core.events import BackendStatus
from koi_agent.core.frozen import frozen
from koi_agent.core.instance import Instance
from koi_agent.core.key import Key
from koi_agent.core.plan.records import Decision
from koi_agent.core.reach.network import HostNetwork
from koi_agent.core.schema.explanation import explanation_of
from koi_agent.publishers.dbus.columns import INVALID, Columns
from koi_agent.publishers.dbus.configuration import ConfigurationStatus
from koi_agent.publishers.dbus.manager_properties import PROPERTIES
from koi_agent.publishers.dbus.names import backend_path, instance_path
from koi_agent.publishers.dbus.processes import with_process
from koi_agent.publishers.dbus.signals import SIGNALS

ROOT_SLICE = "-.slice"
SYSTEMD = (
    "org.freedesktop.systemd1",
    "/org/freedesktop/systemd1",
    "org.freedesktop.systemd1.Manager",
)
LIST = "a(ssssso)"
"""The signature of ListInstances' reply."""
FILTERS: dict[str, Callable[[Instance], str]] = {
    "name": lambda i: i.name,
    "unit": lambda i: i.unit,
    "backend": lambda i: i.backend,
    "state": lambda i: str(i.state),
    "health": lambda i: str(i.health),
}
"""The filters of FindInstances."""


@frozen()
class ManagerActions:
    """The functions of the agent that the methods call.

    ``resync`` lists a backend, or all for "", and returns the differences; it raises
    ``BackendLost``. ``reload`` reads the configuration again; it raises ``ConfigError``.
    ``decisions`` returns the decisions about an instance, ``network`` the interfaces of this host,
    and ``configuration`` the settings in force.
    """

    resync: Callable[[str], Awaitable[Mapping[str, Mapping[str, str]]]]
    reload: Callable[[], Awaitable[None]]
    decisions: Callable[[Key], Sequence[Decision]]
    network: Callable[[], HostNetwork]
    configuration: Callable[[], ConfigurationStatus]


class Manager:
    """Methods of the root object.

    ``queue`` knows the instances that have been published, and ``backends`` returns the backends.
    ``of_unit`` returns the published instances of a unit.
    """

    def __init__(
        self,
        queue: EventQueue,
        backends: Callable[[], Mapping[str, BackendStatus]],
        of_unit: Callable[[str], Sequence[Instance]],
        actions: ManagerActions,
    ) -> None:
        self._queue = queue
        self._backends = backends
        self._of_unit = of_unit
        self._actions = actions
        self._list: tuple[int, bytes] = (-1, b"")
        self._columns = Columns(queue)

    def interface(self) -> Interface:
        """Return the interface: methods, properties and signals."""
        members = (*self._lists(), *self._lookups(), *self._privileged())
        return interface(MANAGER, *members, *PROPERTIES, *SIGNALS)

    def _lists(self) -> Sequence[Method]:
        return (
            Method(
                name="ListInstances",
                handle=self._list_instances,
                returns=(("instances", LIST),),
            ),
            Method(
                name="GetColumns",
                handle=self._columns.answer,
                takes=(("names", "as"),),
                returns=(("columns", "a{sv}"),),
                large=True,
            ),
            Method(
                name="FindInstances",
                handle=self._find_instances,
                takes=(("filter", "a{sv}"),),
                returns=(("paths", "ao"),),
            ),
            Method(
                name="ListBackends", handle=self._list_backends, returns=(("backends", "a(ssuo)"),)
            ),
        )

    def _lookups(self) -> Sequence[Method]:
        path = (("path", "o"),)
        text = (("explanation", "s"),)
        return (
            Method(name="GetInstance", handle=self._get, takes=(("id", "s"),), returns=path),
            Method(
                name="GetInstanceByName",
                handle=self._get_by_name,
                takes=(("name", "s"),),
                returns=path,
            ),
            Method(
                name="GetInstanceByUnit",
                handle=self._get_by_unit,
                takes=(("unit", "s"),),
                returns=path,
            ),
            Method(
                name="GetInstanceByPID",
                handle=self._get_by_pid,
                takes=(("pid", "u"),),
                returns=path,
            ),
            Method(name="Explain", handle=self._explain, takes=(("id", "s"),), returns=text),
        )

    def _privileged(self) -> Sequence[Method]:
        return (
            Method(
                name="Resync",
                handle=self._resync,
                takes=(("backend", "s"), ("options", "a{sv}")),
                returns=(("result", "a{sv}"),),
                action=f"{NAME}.resync",
                acts=True,
            ),
            Method(name="Reload", handle=self._reload, action=f"{NAME}.reload", acts=True),
        )

    def _list_instances(self, _call: Call) -> bytes:
        """Return the reply, which is kept until an instance changes."""
        version = self._queue.version
        if self._list[0] != version:
            rows = [
                [i.id, i.name, i.backend, str(i.state), str(i.health), instance_path(key)]
                for key, i in sorted(self._queue.known.items())
            ]
            self._list = version, marshal(LIST, (rows,))
        return self._list[1]

    def _list_backends(self, _call: Call) -> Sequence[Any]:
        rows = [
            [b.name, str(b.state), b.instances, backend_path(b.name)]
            for b in self._backends().values()
        ]
        return (rows,)

    def _find_instances(self, _call: Call, filters: Mapping[str, Any]) -> Sequence[Any]:
        for name, value in filters.items():
            if name not in FILTERS:
                text = f"unknown filter: '{name}'; use {', '.join(FILTERS)}"
                raise ErrorReply(INVALID, text)
            if value.signature != "s":
                raise ErrorReply(INVALID, f"filter '{name}' is not a string: '{value.signature}'")
        paths = [
            instance_path(key)
            for key, instance in sorted(self._queue.known.items())
            if all(FILTERS[name](instance) == value.value for name, value in filters.items())
        ]
        return (paths,)

    def _get(self, _call: Call, id_: str) -> Sequence[str]:
        return (instance_path(self._instance(id_).key),)

    def _get_by_name(self, _call: Call, name: str) -> Sequence[str]:
        found = [i for i in self._queue.known.values() if i.name == name]
        return (instance_path(_only(found, f"instance named '{name}'").key),)

    def _get_by_unit(self, _call: Call, unit: str) -> Sequence[str]:
        return (instance_path(_only(self._of_unit(unit), f"instance of unit '{unit}'").key),)

    async def _get_by_pid(self, call: Call, pid: int) -> Sequence[str]:
        missing = ErrorReply(f"{NAME}.NoInstanceForPID", f"no instance has process {pid}")
        if pid == 0:
            raise ErrorReply(INVALID, "not a process: 0")
        try:
            (path,) = await call.connection.call(SYSTEMD, "GetUnitByPID", "u", (pid,))
            unit = await call.connection.get(
                SYSTEMD[0], path, "org.freedesktop.systemd1.Unit", "Id"
            )
        except CallError:
            unit = ROOT_SLICE  # LXC makes control groups that belong to no unit
        except (BusLost, TimeoutError) as error:
            text = "systemd does not answer"
            raise ErrorReply(f"{NAME}.BackendUnavailable", text) from error
        of_unit, instances = self._of_unit(str(unit)), self._queue.known.values()
        found = await with_process(pid, str(unit), of_unit, instances)
        if not found:
            raise missing
        return (instance_path(_only(found, f"instance with process {pid}").key),)

    def _explain(self, _call: Call, id_: str) -> Sequence[str]:
        instance = self._instance(id_)
        decisions = self._actions.decisions(instance.key)
        explanation = explanation_of(instance, decisions, self._actions.network())
        return (json.dumps(explanation, ensure_ascii=False),)

    async def _resync(
        self, _call: Call, backend: str, _options: Mapping[str, Any]
    ) -> Sequence[Any]:
        if backend and backend not in self._backends():
            raise ErrorReply(INVALID, f"no backend '{backend}'")
        try:
            differences = await self._actions.resync(backend)
        except BackendLost as lost:
            raise ErrorReply(f"{NAME}.BackendUnavailable", str(lost)) from lost
        kinds = [kind for by_id in differences.values() for kind in by_id.values()]
        result = {kind: Typed("u", kinds.count(kind)) for kind in ("added", "changed", "removed")}
        return (result,)

    async def _reload(self, _call: Call) -> Sequence[Any]:
        try:
            await self._actions.reload()
        except ConfigError as error:
            raise ErrorReply(f"{NAME}.BadConfiguration", str(error)) from error
        return ()

    def _instance(self, id_: str) -> Instance:
        """Return an instance by ``backend:id``, or by an id that one backend alone has."""
        instances = self._queue.known
        with suppress(BadInput):
            if instance := instances.get(Key.parse(id_)):
                return instance
        found = [i for name in self._backends() if (i := instances.get(Key(name, id_)))]
        return _only(found, f"instance '{id_}'")


def _only(found: Sequence[Instance], what: str) -> Instance:
    """Return the one instance; raise ``ErrorReply`` for no instance or several."""
    if not found:
        raise ErrorReply(f"{NAME}.NoSuchInstance", f"no {what}")
    if len(found) > 1:
        keys = ", ".join(sorted(str(instance.key) for instance in found))
        raise ErrorReply(f"{NAME}.AmbiguousName", f"more than one {what}: {keys}")
    return found[0]
