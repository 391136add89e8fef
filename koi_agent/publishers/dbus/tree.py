"""The D-Bus objects, looked up at each call among what has been published."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from koi_agent.bus.interfaces import Interface
from koi_agent.bus.object_manager import ObjectManager
from koi_agent.bus.object_paths import decode, encode
from koi_agent.core.dbus_names import BACKENDS, INSTANCES, ROOT
from koi_agent.core.errors import BadInput
from koi_agent.core.events import BackendStatus
from koi_agent.core.instance import Instance
from koi_agent.core.key import Key
from koi_agent.publishers.dbus.interfaces import BACKEND_INTERFACE, INSTANCE_INTERFACE
from koi_agent.publishers.dbus.log_control import LOG_CONTROL, LOG_CONTROL_INTERFACE, LogControl
from koi_agent.publishers.dbus.manager_properties import ManagerProperties
from koi_agent.publishers.dbus.names import backend_path, instance_path


def _parents(*paths: str) -> dict[str, tuple[str, ...]]:
    """Return the nodes above objects, each with the names of its children."""
    children: dict[str, set[str]] = {}
    for path in paths:
        names = path.split("/")
        for depth in range(1, len(names)):
            children.setdefault("/".join(names[:depth]) or "/", set()).add(names[depth])
    return {path: tuple(sorted(names)) for path, names in children.items()}


PARENTS = _parents(ROOT, LOG_CONTROL)


class Tree:
    """Objects by path.

    ``properties`` returns those of the root object. The object for the log is not below the root
    but at the path that systemd calls, so ObjectManager does not list it.
    """

    def __init__(
        self,
        manager: Interface,
        properties: Callable[[], ManagerProperties],
        instances: Callable[[], Mapping[Key, Instance]],
        backends: Callable[[], Mapping[str, BackendStatus]],
        log_control: LogControl,
    ) -> None:
        self.managed = ObjectManager(ROOT, self.interfaces)
        self._manager = manager
        self._properties = properties
        self._instances = instances
        self._backends = backends
        self._log_control = log_control
        # Labels and paths of all instances, with the generation of objects that they are of.
        self._labels: tuple[int, Sequence[str]] = (-1, ())
        self._paths: tuple[int, Sequence[str]] = (-1, ())

    def interfaces(self, path: str) -> Sequence[tuple[Interface, Any]]:
        """Return the interfaces of an object, each with the source of its properties."""
        if path == ROOT:
            return ((self._manager, self._properties()),)
        if path == LOG_CONTROL:
            return ((LOG_CONTROL_INTERFACE, self._log_control),)
        parent, _, label = path.rpartition("/")
        name = decode(label)
        found: Instance | BackendStatus | None = None
        if parent == INSTANCES and (found := self._instance(name)):
            interface = INSTANCE_INTERFACE
        elif parent == BACKENDS and (found := self._backends().get(name)):
            interface = BACKEND_INTERFACE
        else:
            return ()
        # Only the path that encode() makes is an object's: decode() accepts other spellings.
        return ((interface, found),) if encode(name) == label else ()

    def _instance(self, key: str) -> Instance | None:
        try:
            return self._instances().get(Key.parse(key))
        except BadInput:
            return None

    def children(self, path: str) -> Iterable[str] | None:
        """Return the names of the children of a node above objects, ``None`` for other paths."""
        if path == INSTANCES:
            generation = self.managed.generation
            if self._labels[0] != generation:
                self._labels = generation, sorted(encode(str(key)) for key in self._instances())
            return self._labels[1]
        if path == BACKENDS:
            return sorted(encode(name) for name in self._backends())
        return ("backend", "instance") if path == ROOT else PARENTS.get(path)

    def managed_paths(self) -> Sequence[str]:
        """Return the paths of all objects below the root."""
        generation = self.managed.generation
        if self._paths[0] != generation:
            self._paths = generation, [instance_path(key) for key in self._instances()]
        return [*self._paths[1], *(backend_path(name) for name in self._backends())]
