"""The D-Bus API as tables: each property's name, type and how its changes are told."""

from typing import Any

from koi_agent.bus.interfaces import Emits, Interface, Property, SignalType, interface
from koi_agent.bus.messages import Variant
from koi_agent.core.dbus_names import BACKEND, INSTANCE
from koi_agent.core.events import BackendStatus
from koi_agent.core.instance import Instance
from koi_agent.core.schema import announcement_of, metadata_of, port_of

SIGNATURES = {
    "enable": "b",
    "port": "q",
    "health_interval": "t",
    "health_timeout": "t",
    "proxy_port": "q",
    "proxy_remote": "b",
    "certmesh": "b",
    "subtypes": "as",
    "txt": "a{ss}",
    "ports": "a{sv}",
    "host_port": "q",
    "container_port": "q",
    "since": "t",
}
"""Signatures of the values in our dictionaries; all others are strings."""


def variants(shown: dict[str, Any]) -> dict[str, Variant]:
    """Make an ``a{sv}`` of plain values."""
    return {name: Variant(*_typed(name, value)) for name, value in shown.items()}


def _typed(name: str, value: Any) -> tuple[str, Any]:
    if name == "ports":
        return "a{sv}", {port: Variant("a{sv}", variants(said)) for port, said in value.items()}
    return SIGNATURES.get(name, "s"), value


def _metadata(instance: Instance) -> dict[str, Variant]:
    return variants(metadata_of(instance.metadata))


def _ports(instance: Instance) -> list[dict[str, Variant]]:
    return [variants(port_of(port, instance.metadata)) for port in instance.ports]


def _announcements(instance: Instance) -> list[dict[str, Variant]]:
    return [variants(announcement_of(one)) for one in instance.announcements]


def _instance_interface() -> Interface:
    const, true = Emits.CONST, Emits.TRUE
    return interface(
        INSTANCE,
        Property("Id", "s", const, lambda i: i.id),
        Property("Name", "s", true, lambda i: i.name),
        Property("Backend", "s", const, lambda i: i.backend),
        Property("Image", "s", true, lambda i: i.image),
        Property("State", "s", true, lambda i: str(i.state)),
        Property("StateDetail", "s", true, lambda i: i.state_detail),
        Property("Health", "s", true, lambda i: str(i.health)),
        Property("HealthDetail", "s", true, lambda i: i.health_detail),
        Property("Ports", "aa{sv}", true, _ports),
        Property("Addresses", "as", true, lambda i: list(i.ips)),
        Property("Metadata", "a{sv}", Emits.INVALIDATES, _metadata),
        Property("Unit", "s", true, lambda i: i.unit),
        Property("ControlGroup", "s", true, lambda i: i.control_group),
        Property("MainPID", "u", true, lambda i: i.main_pid),
        Property("InvocationID", "ay", true, lambda i: i.invocation_id),
        Property("Stale", "b", true, lambda i: i.stale),
        Property("LinkedTo", "ao", true, lambda _: []),
        Property("Announcements", "aa{sv}", true, _announcements),
        Property("CreatedTimestamp", "t", const, lambda i: i.created_at),
        Property("DiscoveredTimestamp", "t", const, lambda i: i.discovered_at),
    )


def _backend_interface() -> Interface:
    true = Emits.TRUE
    return interface(
        BACKEND,
        Property("Name", "s", Emits.CONST, lambda b: b.name),
        Property("State", "s", true, lambda b: str(b.state)),
        Property("Endpoint", "s", true, lambda b: b.endpoint),
        Property("RuntimeVersion", "s", true, lambda b: b.runtime_version),
        Property("Instances", "u", true, lambda b: b.instances),
        Property("LastError", "s", true, lambda b: b.last_error),
        Property("Reconnects", "t", true, lambda b: b.reconnects),
        Property("Drift", "t", true, lambda b: b.drift),
        Property("LastSyncTimestamp", "t", Emits.FALSE, lambda b: b.last_sync),
    )


INSTANCE_INTERFACE = _instance_interface()
BACKEND_INTERFACE = _backend_interface()

EVENTS = (
    *(
        SignalType(name, (("id", "s"), ("name", "s"), ("path", "o"), ("details", "a{sv}")))
        for name in ("InstanceStarted", "InstanceUpdated", "InstanceStopped")
    ),
    *(
        SignalType(name, (("backend", "s"), ("details", "a{sv}")))
        for name in ("BackendDisconnected", "BackendReconnected")
    ),
)


def changed(shown: Interface, old: Instance | BackendStatus, new: object) -> list[str]:
    """Name the properties whose values differ between two states of an object."""
    return [
        name
        for name, prop in shown.properties.items()
        if prop.emits is not Emits.FALSE and prop.get(old) != prop.get(new)
    ]
