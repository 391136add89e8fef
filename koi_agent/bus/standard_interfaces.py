"""The D-Bus Specification's standard interfaces, for every object of a tree at once."""

from asyncio import Lock
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Protocol
from weakref import WeakValueDictionary

from koi_agent.bus import introspection, polkit
from koi_agent.bus.interfaces import (
    Call,
    ErrorReply,
    Interface,
    Method,
    Property,
    SignalType,
    interface,
)
from koi_agent.bus.marshalling import Typed
from koi_agent.bus.messages import Variant
from koi_agent.bus.object_manager import OBJECT_MANAGER, PROPERTIES, ObjectManager, properties
from koi_agent.core.errors import BadInput

PEER = "org.freedesktop.DBus.Peer"
ERROR = "org.freedesktop.DBus.Error."
MACHINE_ID = Path("/etc/machine-id")


class Objects(Protocol):
    """The tree that is served."""

    managed: ObjectManager

    def interfaces(self, path: str) -> Sequence[tuple[Interface, Any]]:
        """Tell an object's interfaces, each with what its properties are read of; () for none."""

    def children(self, path: str) -> Iterable[str] | None:
        """Tell the names of the nodes right below one on the way to objects, ``None`` elsewhere."""

    def managed_paths(self) -> Sequence[str]:
        """Tell the paths of all objects below the ObjectManager."""


class Standard:
    """The handlers; ``offered`` says which interfaces a path answers to."""

    def __init__(self, objects: Objects) -> None:
        self._objects = objects
        self._listing = Lock()
        self._asking: WeakValueDictionary[str, Lock] = WeakValueDictionary()
        self._introspectable = interface(
            "org.freedesktop.DBus.Introspectable",
            Method(name="Introspect", handle=self._introspect, returns=(("xml_data", "s"),)),
        )
        self.peer = interface(
            PEER,
            Method(name="Ping", handle=lambda _call: ()),
            Method(name="GetMachineId", handle=_machine_id, returns=(("machine_uuid", "s"),)),
        )
        self._properties = interface(PROPERTIES, *self._property_members())
        self._manager = interface(
            OBJECT_MANAGER,
            Method(
                name="GetManagedObjects",
                handle=self._get_managed_objects,
                returns=(("object_paths_interfaces_and_properties", "a{oa{sa{sv}}}"),),
            ),
            SignalType(
                "InterfacesAdded",
                (("object_path", "o"), ("interfaces_and_properties", "a{sa{sv}}")),
            ),
            SignalType("InterfacesRemoved", (("object_path", "o"), ("interfaces", "as"))),
        )

    def _property_members(self) -> tuple[Method | SignalType, ...]:
        name = (("interface_name", "s"), ("property_name", "s"))
        return (
            Method(name="Get", handle=self._get, takes=name, returns=(("value", "v"),)),
            Method(
                name="GetAll",
                handle=self._get_all,
                takes=name[:1],
                returns=(("properties", "a{sv}"),),
            ),
            Method(name="Set", handle=self._set, takes=(*name, ("value", "v"))),
            SignalType(
                "PropertiesChanged",
                (
                    ("interface_name", "s"),
                    ("changed_properties", "a{sv}"),
                    ("invalidated_properties", "as"),
                ),
            ),
        )

    def offered(self, path: str) -> list[Interface]:
        """Tell all interfaces a path answers to, () for a path where nothing is.

        A node on the way to objects can be introspected and no more. Peer answers anywhere,
        as the specification asks, but does not make an object of a path.
        """
        own = [shown for shown, _ in self._objects.interfaces(path)]
        if not own:
            on_the_way = self._objects.children(path) is not None
            return [self._introspectable, self.peer] if on_the_way else []
        standard = [self._introspectable, self.peer, self._properties]
        if path == self._objects.managed.root:
            standard.append(self._manager)
        return standard + own

    def _introspect(self, call: Call) -> Sequence[str]:
        children = self._objects.children(call.path) or ()
        return (introspection.node(self.offered(call.path), children),)

    def _get(self, call: Call, name: str, member: str) -> Sequence[Typed]:
        prop, subject = self._property(call, name, member)
        return (Typed(prop.signature, prop.get(subject)),)

    def _property(self, call: Call, name: str, member: str) -> tuple[Property, Any]:
        for shown, subject in self._subjects(call.path, name):
            if prop := shown.properties.get(member):
                return prop, subject
        raise ErrorReply(ERROR + "UnknownProperty", f"no property {member} in {name or 'any'}")

    def _get_all(self, call: Call, name: str) -> Sequence[dict[str, Typed]]:
        values: dict[str, Typed] = {}
        for shown, subject in self._subjects(call.path, name):
            values |= properties(shown, subject)
        return (values,)

    async def _set(self, call: Call, name: str, member: str, value: Variant) -> Sequence[Any]:
        prop, subject = self._property(call, name, member)
        if prop.set is None:
            raise ErrorReply(ERROR + "PropertyReadOnly", f"{member} can only be read")
        if value.signature != prop.signature:
            text = f"{member} is '{prop.signature}', not '{value.signature}'"
            raise ErrorReply(ERROR + "InvalidArgs", text)
        if prop.action:
            await polkit.check(call, prop.action)
        try:
            prop.set(subject, value.value)
        except BadInput as error:
            raise ErrorReply(ERROR + "InvalidArgs", str(error)) from error
        return ()

    def _subjects(self, path: str, name: str) -> Sequence[tuple[Interface, Any]]:
        """Find an interface by name; the empty name stands for all, as the specification says."""
        found = self._objects.interfaces(path)
        if name and name not in {shown.name for shown in self.offered(path)}:
            raise ErrorReply(ERROR + "UnknownInterface", f"no interface {name} at {path}")
        return [pair for pair in found if name in ("", pair[0].name)]

    async def _get_managed_objects(self, call: Call) -> bytes:
        """Answer one at a time, and one of each sender in turn: answers are large.

        The bus must have read most of one before the next is made.
        """
        async with self._asking.setdefault(call.sender, Lock()), self._listing:
            await call.link.room()
            return await self._objects.managed.answer(self._objects.managed_paths)


def _machine_id(_call: Call) -> Sequence[str]:
    try:
        return (MACHINE_ID.read_text(encoding="ascii").strip(),)
    except OSError as error:
        raise ErrorReply(ERROR + "FileNotFound", f"{MACHINE_ID}: {error.strerror}") from error
