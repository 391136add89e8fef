"""The agent's objects as the plain values that ``--json`` shows.

Keys are those of upstream's instances with ours added. ``image`` is left out where there is
none, as upstream does; ours are always there, ``null`` where nothing is known. A property that
is missing or of another type than ours, as an agent of another version may have it, counts as
not known.
"""

from datetime import UTC, datetime, timedelta
from typing import Any

from koi_agent.cli.client import Properties

EPOCH = datetime.fromtimestamp(0, UTC)
LATEST = 253_402_300_799_999_999
"""The last microsecond that has a year of four digits."""

RENAMED = {"Addresses": "ips", "MainPID": "main_pid", "InvocationID": "invocation_id"}
"""Keys of properties whose names are spelled otherwise in JSON."""


def instance(shown: Properties) -> dict[str, Any]:
    """Make the record of an instance."""
    image = text(shown, "Image")
    record = {
        "id": text(shown, "Id"),
        "name": text(shown, "Name"),
        "ports": dicts(shown, "Ports"),
        "ips": [ip for ip in items(shown, "Addresses") if isinstance(ip, str)],
        "metadata": mapping(shown, "Metadata"),
        "backend": text(shown, "Backend"),
        "state": text(shown, "State"),
        "discovered_at": time(shown, "DiscoveredTimestamp"),
    }
    return record | ({"image": image} if image else {}) | _ours(shown)


def _ours(shown: Properties) -> dict[str, Any]:
    invocation = shown.get("InvocationID")
    return {
        "unit": text(shown, "Unit") or None,
        "main_pid": number(shown, "MainPID") or None,
        "control_group": text(shown, "ControlGroup") or None,
        "health": text(shown, "Health"),
        "health_detail": text(shown, "HealthDetail") or None,
        "state_detail": text(shown, "StateDetail") or None,
        "created_at": time(shown, "CreatedTimestamp"),
        "stale": shown.get("Stale") is True,
        "invocation_id": (invocation.hex() or None) if isinstance(invocation, bytes) else None,
        "announcements": [
            {**one, "since": time(one, "since")} for one in dicts(shown, "Announcements")
        ],
    }


def backend(shown: Properties) -> dict[str, Any]:
    """Make the record of a backend."""
    return {
        "name": text(shown, "Name"),
        "state": text(shown, "State"),
        "endpoint": text(shown, "Endpoint") or None,
        "runtime_version": text(shown, "RuntimeVersion") or None,
        "instances": number(shown, "Instances"),
        "last_error": text(shown, "LastError") or None,
        "reconnects": number(shown, "Reconnects"),
        "drift": number(shown, "Drift"),
        "last_sync": time(shown, "LastSyncTimestamp"),
    }


def key_of(name: str) -> str:
    """Tell a property's key in JSON: ``StateDetail`` is ``state_detail``."""
    if name in RENAMED:
        return RENAMED[name]
    return "".join(f"_{c.lower()}" if c.isupper() and i else c.lower() for i, c in enumerate(name))


def text(shown: Properties, name: str) -> str:
    value = shown.get(name)
    return value if isinstance(value, str) else ""


def number(shown: Properties, name: str) -> int:
    value = shown.get(name)
    return value if isinstance(value, int) else 0


def items(shown: Properties, name: str) -> list[Any]:
    value = shown.get(name)
    return value if isinstance(value, list) else []


def dicts(shown: Properties, name: str) -> list[dict[str, Any]]:
    return [item for item in items(shown, name) if isinstance(item, dict)]


def refusals(said: Properties) -> list[dict[str, Any]]:
    """Take what an explanation says was refused, each with ``key`` and ``reason``."""
    return [
        {"key": text(item, "key"), "reason": text(item, "reason")}
        for item in dicts(said, "refused")
    ]


def mapping(shown: Properties, name: str) -> dict[str, Any]:
    value = shown.get(name)
    return value if isinstance(value, dict) else {}


def time(shown: Properties, name: str) -> str | None:
    """Show microseconds since the epoch as RFC 3339 has it; 0 is not known."""
    microseconds = number(shown, name)
    return rfc3339(microseconds) if 0 < microseconds <= LATEST else None


def rfc3339(microseconds: int) -> str:
    moment = EPOCH + timedelta(microseconds=microseconds)
    return moment.isoformat(timespec="microseconds").replace("+00:00", "Z")
