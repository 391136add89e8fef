"""What systemd says of a unit; none is loaded for being asked after."""

from koi_agent.bus.client import CallError
from koi_agent.cli.doctor.findings import Bus

SYSTEMD = "org.freedesktop.systemd1"
MANAGER = (SYSTEMD, "/org/freedesktop/systemd1", f"{SYSTEMD}.Manager")


async def file_state(bus: Bus, unit: str) -> str:
    """Ask for the state of a unit's file; "" is none."""
    try:
        (state,) = await bus.link.call(MANAGER, "GetUnitFileState", "s", (unit,))
    except CallError:
        return ""
    return str(state)


async def active_state(bus: Bus, unit: str) -> str:
    """Ask for a unit's state; a unit that is not loaded has no object."""
    try:
        (path,) = await bus.link.call(MANAGER, "GetUnit", "s", (unit,))
    except CallError:
        return "inactive"
    return str(await bus.link.get(SYSTEMD, path, f"{SYSTEMD}.Unit", "ActiveState"))
