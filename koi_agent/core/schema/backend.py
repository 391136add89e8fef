"""The properties of a backend, in the order in which they are shown."""

from typing import Final

from koi_agent.core.events import BackendState, BackendStatus
from koi_agent.core.schema.tables import ChangeSignal, Row, Table
from koi_agent.core.schema.types import (
    LONG_NUMBER,
    NUMBER,
    TEXT,
    TEXT_OR_NULL,
    TIME,
    enumeration,
)

BACKEND_PROPERTIES: Final[Table[BackendStatus]] = Table(
    "Backend",
    "A runtime that the agent follows.",
    (
        Row("name", "Name", TEXT, lambda b: b.name, "Name.", signal=ChangeSignal.CONST),
        Row("kind", "Kind", TEXT, lambda b: b.kind, "Kind of runtime.", signal=ChangeSignal.CONST),
        Row(
            "state",
            "State",
            enumeration(BackendState),
            lambda b: str(b.state),
            "State of the connection.",
        ),
        Row("instances", "Instances", NUMBER, lambda b: b.instances, "Number of instances."),
        Row("endpoint", "Endpoint", TEXT_OR_NULL, lambda b: b.endpoint, "Address in use."),
        Row(
            "runtime_version",
            "RuntimeVersion",
            TEXT_OR_NULL,
            lambda b: b.runtime_version,
            "Version of the runtime.",
        ),
        Row("last_error", "LastError", TEXT_OR_NULL, lambda b: b.last_error, "Last error."),
        Row(
            "reconnects",
            "Reconnects",
            LONG_NUMBER,
            lambda b: b.reconnects,
            "Number of times the connection was lost and restored.",
        ),
        Row(
            "drift",
            "Drift",
            LONG_NUMBER,
            lambda b: b.drift,
            "Number of differences that a periodic list found and no event reported.",
        ),
        Row(
            "last_sync",
            "LastSyncTimestamp",
            TIME,
            lambda b: b.last_sync,
            "Time of the last full list.",
            signal=ChangeSignal.NONE,
        ),
    ),
)
