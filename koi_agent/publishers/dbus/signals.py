"""The signals of the root object's Manager interface."""

from collections.abc import Sequence
from typing import Any, Final

from koi_agent.bus.client import Connection
from koi_agent.bus.interfaces import SignalType
from koi_agent.bus.marshalling import Typed
from koi_agent.bus.messages import Header, MessageType, marshal
from koi_agent.core.dbus_names import MANAGER, ROOT
from koi_agent.core.instance import Instance

INSTANCE_ARGUMENTS: Final = (("id", "s"), ("name", "s"), ("path", "o"), ("details", "a{sv}"))
BACKEND_ARGUMENTS: Final = (("backend", "s"), ("details", "a{sv}"))

SIGNALS: Final = (
    SignalType("InstanceStarted", INSTANCE_ARGUMENTS),
    SignalType("InstanceUpdated", INSTANCE_ARGUMENTS),
    SignalType("InstanceStopped", INSTANCE_ARGUMENTS),
    SignalType("BackendDisconnected", BACKEND_ARGUMENTS),
    SignalType("BackendReconnected", BACKEND_ARGUMENTS),
)


def instance_started(link: Connection, instance: Instance, path: str) -> None:
    _emit_of_instance(link, "InstanceStarted", instance, path, {})


def instance_updated(
    link: Connection, instance: Instance, path: str, changed: Sequence[str]
) -> None:
    details = {"changed": Typed("as", list(changed))}
    _emit_of_instance(link, "InstanceUpdated", instance, path, details)


def instance_stopped(link: Connection, instance: Instance, path: str, reason: str) -> None:
    details = {"reason": Typed("s", reason)}
    _emit_of_instance(link, "InstanceStopped", instance, path, details)


def backend_disconnected(link: Connection, backend: str, reason: str) -> None:
    _emit(link, "BackendDisconnected", "sa{sv}", (backend, {"reason": Typed("s", reason)}))


def backend_reconnected(link: Connection, backend: str) -> None:
    _emit(link, "BackendReconnected", "sa{sv}", (backend, {}))


def _emit_of_instance(
    link: Connection, member: str, instance: Instance, path: str, details: dict[str, Typed]
) -> None:
    _emit(link, member, "ssoa{sv}", (instance.id, instance.name, path, details))


def _emit(link: Connection, member: str, signature: str, body: Sequence[Any]) -> None:
    header = Header(
        kind=MessageType.SIGNAL,
        path=ROOT,
        interface=MANAGER,
        member=member,
        signature=signature,
    )
    link.send(header, marshal(signature, body))
