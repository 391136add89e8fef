"""Checks of the installed unit, the D-Bus policy, bus activation, systemd and polkit."""

import re
from collections.abc import Sequence

from koi_agent.cli.doctor.findings import Bus, Case, Finding, failure, ok, warning
from koi_agent.cli.doctor.units import MANAGER, SYSTEMD, active_state, file_state
from koi_agent.core.dbus_names import NAME

UNIT = "koi-runtime.service"
POLKIT = "org.freedesktop.PolicyKit1"
AUTHORITY = (POLKIT, "/org/freedesktop/PolicyKit1/Authority", f"{POLKIT}.Authority")
OLDEST_SYSTEMD = 252
STARTS = ("enabled", "enabled-runtime", "static", "alias", "indirect", "generated")
"""States of a unit file in which the unit starts at boot or by another unit."""
TRANSIENT = ("activating", "deactivating", "reloading", "maintenance")


async def service(case: Case, bus: Bus) -> Sequence[Finding]:
    """Check that the unit is installed, enabled and active, without loading it."""
    if SYSTEMD not in bus.names:
        return []
    file = await file_state(bus, UNIT)
    active = await active_state(bus, UNIT)
    if not file:
        return [_uninstalled(case)]
    text = f"{UNIT} is {active} and {file}"
    if file.startswith("masked"):
        runtime = " --runtime" if file == "masked-runtime" else ""
        return [failure(text, f"{case.systemctl} unmask{runtime} koi-runtime")]
    if active == "failed":
        return [failure(f"{text}; see {case.journal}", f"{case.systemctl} restart koi-runtime")]
    if active == "inactive" and not case.served:
        return [failure(text, f"{case.systemctl} enable --now koi-runtime")]
    if active in TRANSIENT:
        return [warning(text, case.journal)]
    if file not in STARTS:
        advice = f"{case.systemctl} enable koi-runtime" if file == "disabled" else ""
        return [warning(text, advice)]
    return [ok(text)]


def _uninstalled(case: Case) -> Finding:
    text = f"{UNIT} is not installed"
    if case.served:
        return warning(f"{text}, but an agent runs", case.reinstall)
    return failure(text, case.reinstall)


async def policy(case: Case, bus: Bus) -> Sequence[Finding]:
    """Check that the system bus permits the agent's name, unless the agent owns it already."""
    if bus.owner or case.scope == "user":
        return []
    files = [folder / f"{NAME}.conf" for folder in case.host.policies]
    found = [file for file in files if file.exists()]
    if found:
        return [ok(f"{found[0]} is installed")]
    return [failure(f"no D-Bus policy permits owning {NAME}", case.reinstall)]


async def activation(case: Case, bus: Bus) -> Sequence[Finding]:
    """Check that the bus starts the agent on demand."""
    if NAME in bus.activatable and await _is_enabled(bus):
        return [ok(f"the bus starts {NAME} on demand")]
    text = f"the bus does not start {NAME} on demand"
    if NAME in bus.activatable:
        # For a unit that is masked or missing, the check of the unit has the advice.
        disabled = await file_state(bus, UNIT) == "disabled"
        advice = f"{case.systemctl} enable koi-runtime" if disabled else ""
        return [warning(f"{text}: the unit is not enabled", advice)]
    return [warning(text, case.reinstall)]


async def _is_enabled(bus: Bus) -> bool:
    """Return True if the unit has its alias, by which systemd starts it for the bus."""
    if SYSTEMD not in bus.names:
        return True
    return await file_state(bus, f"dbus-{NAME}.service") in STARTS


async def systemd(case: Case, bus: Bus) -> Sequence[Finding]:
    """Check that systemd runs and is new enough."""
    if SYSTEMD not in bus.names:
        return [warning(f"no systemd on the {case.scope} bus; its units cannot be followed")]
    version = str(await bus.link.get(*MANAGER, "Version"))
    number = re.match(r"\d+", version)
    if number and int(number[0]) < OLDEST_SYSTEMD:
        return [warning(f"systemd {version} is too old; {OLDEST_SYSTEMD} or newer is required")]
    return [ok(f"systemd {version}")]


async def polkit(case: Case, bus: Bus) -> Sequence[Finding]:
    """Check that polkit knows the agent's actions; only its user may call a user's agent."""
    if case.scope == "user":
        return []
    if POLKIT not in bus.names | bus.activatable:
        return [ok("polkit is not installed; only root and the agent's user may resync and reload")]
    (actions,) = await bus.link.call(AUTHORITY, "EnumerateActions", "s", ("",))
    if any(str(action[0]).startswith(f"{NAME}.") for action in actions):
        return [ok("polkit authorizes other users than root to resync and reload")]
    text = "polkit does not know the agent's actions; only root may resync and reload"
    return [warning(text, case.reinstall)]
