"""The standard interfaces of the D-Bus Specification, for all objects of a tree."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

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
from koi_agent.bus.marshalling import Typed, marshal
from koi_agent.bus.object_manager import OBJECT_MANAGER, PROPERTIES, ObjectManager, properties
from koi_agent.core.errors import BadInput

if TYPE_CHECKING:
    from koi_agent.bus.variants import Variant

PEER = "org.freedesktop.DBus.Peer"
ERROR = "org.freedesktop.DBus.Error."
MACHINE_ID = Path("/etc/machine-id")


class Objects(Protocol):
    """The tree that is served."""

    managed: ObjectManager

    def interfaces(self, path: str) -> Sequence[tuple[Interface, Any]]:
        """Return an object's interfaces, each with the object of its properties; () for none."""

    def children(self, path: str) -> Iterable[str] | None:
        """Return the names of a node's children, ``None`` if no object is at or below it."""

    def managed_paths(self) -> Sequence[str]:
        """Return the paths of all objects below the ObjectManager."""


class StandardInterfaces:
    """Introspectable, Peer, Properties and ObjectManager for the objects of a tree."""

    def __init__(self, objects: Objects) -> None:
        self._objects = objects
        self._texts: dict[str, tuple[int, bytes]] = {}
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
                large=True,
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
            Method(name="Set", handle=self._set, takes=(*name, ("value", "v")), acts=True),
            SignalType(
                "PropertiesChanged",
                (
                    ("interface_name", "s"),
                    ("changed_properties", "a{sv}"),
                    ("invalidated_properties", "as"),
                ),
            ),
        )

    def interfaces(self, path: str) -> list[Interface]:
        """Return all interfaces of a path, [] if there is no object at or below it.

        A path that only leads to objects has Introspectable and Peer.
        """
        own = [one for one, _ in self._objects.interfaces(path)]
        if not own:
            is_node = self._objects.children(path) is not None
            return [self._introspectable, self.peer] if is_node else []
        standard = [self._introspectable, self.peer, self._properties]
        if path == self._objects.managed.root:
            standard.append(self._manager)
        return standard + own

    def _introspect(self, call: Call) -> bytes:
        """Return the reply, which is kept as long as there are the same objects.

        Objects of one kind have the same text. Few other objects have children.
        """
        generation = self._objects.managed.generation
        kept = self._texts.get(call.path)
        if kept and kept[0] == generation:
            return kept[1]
        children = self._objects.children(call.path)
        interfaces = self.interfaces(call.path)
        key = call.path if children else " ".join(one.name for one in interfaces)
        kept = self._texts.get(key)
        if children or kept is None:
            kept = generation, marshal("s", (introspection.node(interfaces, children or ()),))
            self._texts[key] = kept
        return kept[1]

    def _get(self, call: Call, name: str, member: str) -> Sequence[Typed]:
        prop, subject = self._property(call, name, member)
        return (Typed(prop.signature, prop.get(subject)),)

    def _property(self, call: Call, name: str, member: str) -> tuple[Property, Any]:
        for one, subject in self._subjects(call.path, name):
            if prop := one.properties.get(member):
                return prop, subject
        raise ErrorReply(
            ERROR + "UnknownProperty", f"no property {member} in {name or 'any interface'}"
        )

    def _get_all(self, call: Call, name: str) -> Sequence[dict[str, Typed]]:
        values: dict[str, Typed] = {}
        for one, subject in self._subjects(call.path, name):
            values |= properties(one, subject)
        return (values,)

    async def _set(self, call: Call, name: str, member: str, value: "Variant") -> Sequence[Any]:
        prop, subject = self._property(call, name, member)
        if prop.set is None:
            raise ErrorReply(ERROR + "PropertyReadOnly", f"{member} is read-only")
        if value.signature != prop.signature:
            text = f"{member} has the type '{prop.signature}', not '{value.signature}'"
            raise ErrorReply(ERROR + "InvalidArgs", text)
        if prop.action:
            await polkit.check(call, prop.action)
        try:
            prop.set(subject, value.value)
        except BadInput as error:
            raise ErrorReply(ERROR + "InvalidArgs", str(error)) from error
        return ()

    def _subjects(self, path: str, name: str) -> Sequence[tuple[Interface, Any]]:
        """Return the interfaces with this name; "" stands for all, as the specification says."""
        found = self._objects.interfaces(path)
        if name and name not in {one.name for one in self.interfaces(path)}:
            raise ErrorReply(ERROR + "UnknownInterface", f"no interface {name} at {path}")
        return [pair for pair in found if name in ("", pair[0].name)]

    async def _get_managed_objects(self, _call: Call) -> bytes:
        return await self._objects.managed.answer(self._objects.managed_paths)


def _machine_id(_call: Call) -> Sequence[str]:
    try:
        return (MACHINE_ID.read_text(encoding="ascii").strip(),)
    except OSError as error:
        raise ErrorReply(ERROR + "FileNotFound", f"{MACHINE_ID}: {error.strerror}") from error
