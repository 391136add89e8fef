"""Reads the states of units from systemd, without loading a unit."""

from koi_agent.bus.client import CallError
from koi_agent.cli.doctor.findings import Bus

SYSTEMD = "org.freedesktop.systemd1"
MANAGER = (SYSTEMD, "/org/freedesktop/systemd1", f"{SYSTEMD}.Manager")


async def file_state(bus: Bus, unit: str) -> str:
    """Return the state of a unit file, or "" if the unit is not installed."""
    try:
        (state,) = await bus.link.call(MANAGER, "GetUnitFileState", "s", (unit,))
    except CallError:
        return ""
    return str(state)


async def active_state(bus: Bus, unit: str) -> str:
    """Return the active state of a unit; a unit that is not loaded is inactive."""
    try:
        (path,) = await bus.link.call(MANAGER, "GetUnit", "s", (unit,))
    except CallError:
        return "inactive"
    return str(await bus.link.get(SYSTEMD, path, f"{SYSTEMD}.Unit", "ActiveState"))
