"""The objects clients see: looked up in what they have been told, at each call."""

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
from koi_agent.publishers.dbus.manager import AgentStatus
from koi_agent.publishers.dbus.names import backend_path, instance_path


def _above(*paths: str) -> dict[str, tuple[str, ...]]:
    """Tell the nodes above objects, each with the names right below it."""
    below: dict[str, set[str]] = {}
    for path in paths:
        names = path.split("/")
        for depth in range(1, len(names)):
            below.setdefault("/".join(names[:depth]) or "/", set()).add(names[depth])
    return {path: tuple(sorted(names)) for path, names in below.items()}


ABOVE = _above(ROOT, LOG_CONTROL)


class Tree:
    """Objects by path; ``facts`` is what the root shows, ``log_control`` where records go.

    The object for that stands beside the root, at the path that systemd knows: no client of
    ours finds it among the managed objects.
    """

    def __init__(
        self,
        manager: Interface,
        facts: Callable[[], AgentStatus],
        told: Callable[[], Mapping[Key, Instance]],
        backends: Callable[[], Mapping[str, BackendStatus]],
        log_control: LogControl,
    ) -> None:
        self.managed = ObjectManager(ROOT, self.interfaces)
        self._manager = manager
        self._facts = facts
        self._told = told
        self._backends = backends
        self._log_control = log_control

    def interfaces(self, path: str) -> Sequence[tuple[Interface, Any]]:
        """Tell an object's interfaces and what their properties are read of."""
        if path == ROOT:
            return ((self._manager, self._facts()),)
        if path == LOG_CONTROL:
            return ((LOG_CONTROL_INTERFACE, self._log_control),)
        folder, _, label = path.rpartition("/")
        name = decode(label)
        found: Instance | BackendStatus | None = None
        if folder == INSTANCES and (found := self._instance(name)):
            shown = INSTANCE_INTERFACE
        elif folder == BACKENDS and (found := self._backends().get(name)):
            shown = BACKEND_INTERFACE
        else:
            return ()
        return ((shown, found),) if encode(name) == label else ()

    def _instance(self, key: str) -> Instance | None:
        try:
            return self._told().get(Key.parse(key))
        except BadInput:
            return None

    def children(self, path: str) -> Iterable[str] | None:
        """Tell the nodes right below one on the way to objects, ``None`` elsewhere."""
        match path:
            case "/org/sylin/koi/Runtime1":
                return ("backend", "instance")
            case "/org/sylin/koi/Runtime1/instance":
                return sorted(encode(str(key)) for key in self._told())
            case "/org/sylin/koi/Runtime1/backend":
                return sorted(encode(name) for name in self._backends())
            case _:
                return ABOVE.get(path)

    def managed_paths(self) -> Sequence[str]:
        """Tell all objects below the root."""
        return [
            *(instance_path(key) for key in self._told()),
            *(backend_path(name) for name in self._backends()),
        ]
