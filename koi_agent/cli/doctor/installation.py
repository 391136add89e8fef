"""Checks of what is installed around the agent: unit, policy, activation, systemd, polkit."""

import re
from collections.abc import Sequence
from pathlib import Path

from koi_agent.cli.doctor.findings import Bus, Case, Finding, doubtful, fine, wrong
from koi_agent.cli.doctor.units import MANAGER, SYSTEMD, active_state, file_state
from koi_agent.core.dbus_names import NAME

UNIT = "koi-runtime.service"
POLKIT = "org.freedesktop.PolicyKit1"
AUTHORITY = (POLKIT, "/org/freedesktop/PolicyKit1/Authority", f"{POLKIT}.Authority")
OLDEST_SYSTEMD = 252
STARTS = ("enabled", "enabled-runtime", "static", "alias", "indirect", "generated")
"""States of a unit's file in which it starts without being told to, or is started by others."""
PASSING = ("activating", "deactivating", "reloading", "maintenance")
POLICIES = ("/etc/dbus-1/system.d", "/usr/share/dbus-1/system.d")
"""Where the system bus reads policies (dbus-daemon(1))."""


async def service(case: Case, bus: Bus) -> Sequence[Finding]:
    """See whether the unit is installed, runs and will run; it is not loaded for that."""
    if SYSTEMD not in bus.names:
        return []
    file = await file_state(bus, UNIT)
    active = await active_state(bus, UNIT)
    if not file:
        return [_uninstalled(case)]
    said = f"{UNIT} is {active} and {file}"
    if file.startswith("masked"):
        runtime = " --runtime" if file == "masked-runtime" else ""
        return [wrong(said, f"{case.systemctl} unmask{runtime} koi-runtime")]
    if active == "failed":
        return [wrong(f"{said}; {case.journal} says why", f"{case.systemctl} restart koi-runtime")]
    if active == "inactive" and not case.served:
        return [wrong(said, f"{case.systemctl} enable --now koi-runtime")]
    if active in PASSING:
        return [doubtful(said, case.journal)]
    if file not in STARTS:
        is_off = await file_state(bus, UNIT) == "disabled"  # else the unit is told of already
        return [doubtful(said, f"{case.systemctl} enable koi-runtime" if is_off else "")]
    return [fine(said)]


def _uninstalled(case: Case) -> Finding:
    text = f"{UNIT} is not installed"
    if case.served:
        return doubtful(f"{text}; the agent was started otherwise", case.reinstall)
    return wrong(text, case.reinstall)


async def policy(case: Case, bus: Bus) -> Sequence[Finding]:
    """See whether the system bus would let the agent have its name; one that has it may."""
    if bus.owner or case.scope == "user":
        return []
    places = [Path(folder, f"{NAME}.conf") for folder in POLICIES]
    found = [str(place) for place in places if place.exists()]
    if found:
        return [fine(f"{found[0]} is installed")]
    return [wrong(f"no D-Bus policy lets an agent own {NAME}", case.reinstall)]


async def activation(case: Case, bus: Bus) -> Sequence[Finding]:
    """See whether who asks an agent that is down gets an answer."""
    if NAME in bus.activatable and await _is_enabled(bus):
        return [fine(f"{NAME} is started when it is asked for")]
    if NAME in bus.activatable:
        said = f"{NAME} is not started when it is asked for, as the unit is not enabled"
        is_off = await file_state(bus, UNIT) == "disabled"  # else the unit is told of already
        return [doubtful(said, f"{case.systemctl} enable koi-runtime" if is_off else "")]
    return [doubtful(f"{NAME} is not started when it is asked for", case.reinstall)]


async def _is_enabled(bus: Bus) -> bool:
    """Tell whether there is the alias by which the bus knows the unit, if a systemd starts it."""
    if SYSTEMD not in bus.names:
        return True
    return await file_state(bus, f"dbus-{NAME}.service") in STARTS


async def systemd(case: Case, bus: Bus) -> Sequence[Finding]:
    """See whether there is a systemd that is new enough."""
    if SYSTEMD not in bus.names:
        return [doubtful(f"no systemd on the {case.scope} bus: its units can't be followed")]
    version = str(await bus.link.get(*MANAGER, "Version"))
    number = re.match(r"\d+", version)
    if number and int(number[0]) < OLDEST_SYSTEMD:
        return [doubtful(f"systemd {version} is older than {OLDEST_SYSTEMD}, which is needed")]
    return [fine(f"systemd {version}")]


async def polkit(case: Case, bus: Bus) -> Sequence[Finding]:
    """See who may resync and reload; of a user's agent nobody else asks."""
    if case.scope == "user":
        return []
    if POLKIT not in bus.names | bus.activatable:
        return [fine("not here: only root and the agent's own user may resync and reload")]
    (actions,) = await bus.link.call(AUTHORITY, "EnumerateActions", "s", ("",))
    if any(str(action[0]).startswith(f"{NAME}.") for action in actions):
        return [fine("it decides who else than root may resync and reload")]
    text = "it does not know our actions: only root may resync and reload"
    return [doubtful(text, case.reinstall)]
