"""ObjectManager: all objects in one reply, and the signals that keep clients up to date.

The entry of an object is marshalled once and kept until a property changes. Five thousand
objects are then joined in milliseconds; to marshal them takes half a second. The bytes of an
entry are also the whole body of the object's InterfacesAdded.
"""

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

from koi_agent.bus.client import Connection
from koi_agent.bus.interfaces import Emits, Interface
from koi_agent.bus.marshalling import U32, Typed, marshal
from koi_agent.bus.messages import Header, MessageType, padded

OBJECT_MANAGER = "org.freedesktop.DBus.ObjectManager"
PROPERTIES = "org.freedesktop.DBus.Properties"
SLICE = 20
"""Objects that are marshalled before other tasks run: about two milliseconds."""

Interfaces = Sequence[tuple[Interface, Any]]
"""The interfaces of an object, each with the source of its properties."""


class ObjectManager:
    """The objects below one root path.

    ``interfaces`` returns the interfaces of the object at a path. ``generation`` counts objects
    that were added or removed.
    """

    def __init__(self, root: str, interfaces: Callable[[str], Interfaces]) -> None:
        self.root = root
        self.generation = 0
        self._interfaces = interfaces
        self._entries: dict[str, bytes] = {}

    def entry(self, path: str) -> bytes:
        """Return an object's path, interfaces and properties, marshalled as ``oa{sa{sv}}``."""
        if kept := self._entries.get(path):
            return kept
        return self._put(path, self._interfaces(path))

    def _put(self, path: str, interfaces: Interfaces) -> bytes:
        """Marshal an object's entry and keep it."""
        values = {each.name: properties(each, subject) for each, subject in interfaces}
        entry = self._entries[path] = marshal("oa{sa{sv}}", (path, values))
        return entry

    async def answer(self, paths: Callable[[], Sequence[str]]) -> bytes:
        """Return the body of GetManagedObjects' reply, as it is true when this returns.

        It is marshalled in slices, and other tasks run in between. ``paths`` returns the
        paths of all objects.
        """
        gone: set[str] = set()
        while missing := [p for p in paths() if p not in self._entries and p not in gone]:
            for at, path in enumerate(missing, 1):
                if self._interfaces(path):
                    self.entry(path)
                else:
                    gone.add(path)
                if at % SLICE == 0:
                    await asyncio.sleep(0)
        return joined([self._entries[path] for path in paths() if path in self._entries])

    def added(self, connection: Connection, path: str, interfaces: Interfaces) -> None:
        """Emit InterfacesAdded."""
        self.generation += 1
        self._emit(connection, "InterfacesAdded", "oa{sa{sv}}", self._put(path, interfaces))

    def removed(self, connection: Connection, path: str, interfaces: Sequence[str]) -> None:
        """Emit InterfacesRemoved."""
        self.generation += 1
        self._entries.pop(path, None)
        self._emit(connection, "InterfacesRemoved", "oas", marshal("oas", (path, interfaces)))

    def changed(
        self,
        connection: Connection,
        path: str,
        interface: Interface,
        subject: Any,
        names: Sequence[str],
    ) -> None:
        """Emit PropertiesChanged for those of the properties that emit it."""
        self._entries.pop(path, None)
        changed = [interface.properties[name] for name in names]
        values = {
            one.name: Typed(one.signature, one.get(subject))
            for one in changed
            if one.emits is Emits.TRUE
        }
        invalid = [one.name for one in changed if one.emits is Emits.INVALIDATES]
        if values or invalid:
            body = marshal("sa{sv}as", (interface.name, values, invalid))
            header = Header(
                kind=MessageType.SIGNAL,
                path=path,
                interface=PROPERTIES,
                member="PropertiesChanged",
                signature="sa{sv}as",
            )
            connection.send(header, body)

    def clear(self) -> None:
        """Drop all marshalled entries: all objects may have changed."""
        self.generation += 1
        self._entries.clear()

    def forget(self, path: str) -> None:
        """Drop the marshalled entry of an object whose properties changed without a signal."""
        self._entries.pop(path, None)

    def _emit(self, connection: Connection, member: str, signature: str, body: bytes) -> None:
        header = Header(
            kind=MessageType.SIGNAL,
            path=self.root,
            interface=OBJECT_MANAGER,
            member=member,
            signature=signature,
        )
        connection.send(header, body)


def properties(interface: Interface, subject: Any) -> dict[str, Typed]:
    """Return the values of all properties of an interface, by name."""
    return {
        one.name: Typed(one.signature, one.get(subject)) for one in interface.properties.values()
    }


def joined(entries: Sequence[bytes]) -> bytes:
    """Return an ``a{oa{sa{sv}}}`` of marshalled entries, each at a multiple of 8."""
    parts = [entry + bytes(padded(len(entry)) - len(entry)) for entry in entries[:-1]]
    body = b"".join([*parts, *entries[-1:]])
    return U32.pack(len(body)) + bytes(4) + body
