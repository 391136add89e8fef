"""The properties of an instance, in the order in which they are shown.

A new property is a row here, and a value that a backend fills in. Keys of upstream Koi keep
upstream's form: ``image`` is left out if it is not known. Our keys are then ``null``.
"""

from collections.abc import Mapping
from typing import Any, Final

from koi_agent.core.instance import Health, Instance, InstanceState
from koi_agent.core.key import Key
from koi_agent.core.metadata.service_types import http_port
from koi_agent.core.schema.dictionaries import ANNOUNCEMENT, METADATA, PORT, InstancePort
from koi_agent.core.schema.tables import ChangeSignal, Row, Table, dictionary, list_of
from koi_agent.core.schema.types import (
    BOOLEAN,
    ID,
    NUMBER_OR_NULL,
    OBJECT_PATHS,
    TEXT,
    TEXT_OR_NULL,
    TEXTS,
    TIME,
    enumeration,
)

CONST, INVALIDATES = ChangeSignal.CONST, ChangeSignal.INVALIDATES


def _key(values: Mapping[str, Any]) -> str:
    return str(Key(str(values.get("Backend", "")), str(values.get("Id", ""))))


def _ports(instance: Instance) -> list[dict[str, Any]]:
    http = http_port(instance)
    return [PORT.values(InstancePort(port, instance.metadata, http)) for port in instance.ports]


def _announcements(instance: Instance) -> list[dict[str, Any]]:
    return [ANNOUNCEMENT.values(announcement) for announcement in instance.announcements]


_IDENTITY: Final[tuple[Row[Instance], ...]] = (
    Row("id", "Id", TEXT, lambda i: i.id, "Id that the runtime gave it.", signal=CONST),
    Row("name", "Name", TEXT, lambda i: i.name, "Name, which others may share."),
    Row(
        "key",
        "",
        TEXT,
        None,
        "Backend and id, joined by a colon: unique on this host.",
        derive=_key,
    ),
    Row("backend", "Backend", TEXT, lambda i: i.backend, "Backend it belongs to.", signal=CONST),
)
_STATE: Final[tuple[Row[Instance], ...]] = (
    Row(
        "state",
        "State",
        enumeration(InstanceState),
        lambda i: str(i.state),
        "State, in the same words for all runtimes.",
        heading="State",
    ),
    Row(
        "state_detail",
        "StateDetail",
        TEXT_OR_NULL,
        lambda i: i.state_detail,
        "State in the runtime's own words.",
    ),
    Row(
        "stale",
        "Stale",
        BOOLEAN,
        lambda i: i.stale,
        "Whether the connection to the runtime is lost, so that the values may be outdated.",
    ),
    Row(
        "health",
        "Health",
        enumeration(Health),
        lambda i: str(i.health),
        "Result of the health checks of the runtime or of the agent.",
        heading="Health",
    ),
    Row(
        "health_detail",
        "HealthDetail",
        TEXT_OR_NULL,
        lambda i: i.health_detail,
        "Reason of the health.",
    ),
    Row(
        "discovered_at",
        "DiscoveredTimestamp",
        TIME,
        lambda i: i.discovered_at,
        "Time when the agent first saw it.",
        signal=CONST,
        heading="Tracked",
    ),
    Row(
        "created_at",
        "CreatedTimestamp",
        TIME,
        lambda i: i.created_at,
        "Time when the runtime created it.",
        signal=CONST,
        heading="Created",
    ),
)
_ORIGIN: Final[tuple[Row[Instance], ...]] = (
    Row(
        "image",
        "Image",
        TEXT_OR_NULL,
        lambda i: i.image,
        "Image of a container, or unit file of a unit.",
        heading="Image",
        optional=True,
    ),
    Row(
        "project",
        "Project",
        TEXT_OR_NULL,
        lambda i: i.project,
        "Project it belongs to, as Compose names it.",
        heading="Project",
    ),
    Row(
        "replica",
        "Replica",
        NUMBER_OR_NULL,
        lambda i: i.replica,
        "Number among the replicas of one service, from 1; 0 if not known.",
        heading="Replica",
    ),
    Row("unit", "Unit", TEXT_OR_NULL, lambda i: i.unit, "systemd unit.", heading="Unit"),
    Row(
        "aliases",
        "Aliases",
        TEXTS,
        lambda i: list(i.aliases),
        "Other names of the systemd unit.",
        heading="Aliases",
    ),
    Row(
        "main_pid",
        "MainPID",
        NUMBER_OR_NULL,
        lambda i: i.main_pid,
        "Main process; 0 if not known.",
        heading="Main PID",
    ),
    Row(
        "control_group",
        "ControlGroup",
        TEXT_OR_NULL,
        lambda i: i.control_group,
        "Control group of its processes.",
        heading="CGroup",
    ),
    Row(
        "invocation_id",
        "InvocationID",
        ID,
        lambda i: i.invocation_id,
        "systemd's id of this run of the unit.",
        heading="Invocation",
    ),
)
_NETWORK: Final[tuple[Row[Instance], ...]] = (
    Row(
        "ports",
        "Ports",
        list_of(PORT),
        _ports,
        "Ports, each with an address.",
        of=("ports", "metadata"),
        heading="Ports",
    ),
    Row(
        "ips",
        "Addresses",
        TEXTS,
        lambda i: list(i.ips),
        "IP addresses of its own.",
        heading="Addresses",
    ),
    Row(
        "metadata",
        "Metadata",
        dictionary(METADATA),
        lambda i: METADATA.values(i.metadata),
        "Metadata of the koi namespace, see koi-runtime.metadata(5).",
        signal=INVALIDATES,
        heading="Metadata",
    ),
    Row(
        "announcements",
        "Announcements",
        list_of(ANNOUNCEMENT),
        _announcements,
        "Status of each record that it requests.",
        heading="Announced",
    ),
    Row(
        "problems",
        "Problems",
        TEXTS,
        lambda i: list(i.problems),
        "Problems with its unit files, such as one that the agent can't read.",
    ),
    Row(
        "",
        "LinkedTo",
        OBJECT_PATHS,
        lambda _: [],
        "Instances it belongs to; empty so far.",
        of=(),
    ),
)
INSTANCE_PROPERTIES: Final[Table[Instance]] = Table(
    "Instance",
    "A unit, container or machine that runs.",
    _IDENTITY + _STATE + _ORIGIN + _NETWORK,
)
