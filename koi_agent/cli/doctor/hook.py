"""Check of the hook, by which systemd-resolved finds names of instances."""

from typing import Final

from koi_agent.cli.doctor.findings import Bus, Case, Finding, ok, warning
from koi_agent.cli.doctor.resolver import (
    NO_NAMES,
    NOT_ASKED,
    NOT_RUNNING,
    START,
    USE_STUB,
    is_asked_by_programs,
)
from koi_agent.cli.doctor.units import SYSTEMD, active_state, file_state
from koi_agent.host.resolver import RESOLVED, hook_obstacle

UNIT: Final = "koi-runtime-hook.socket"
SERVICE: Final = "koi-runtime-hook.service"
RUNNING: Final = ("active", "activating")
"""States of a service that answers or starts. Questions wait for a start."""
ENABLE: Final = f"systemctl enable --now {UNIT}"
RETRY: Final = f"systemctl reset-failed 'koi-runtime-hook.*' && systemctl start {UNIT}"
JOURNAL: Final = f"journalctl -u {SERVICE}"


async def hook(case: Case, bus: Bus) -> Finding:
    """Check that this host finds names by the hook of systemd-resolved."""
    if obstacle := hook_obstacle(case.scope, case.host.libraries):
        return warning(f"{NO_NAMES} by the hook: {obstacle}; use [DNS] Listen=")
    if RESOLVED not in bus.names:
        return warning(f"{NO_NAMES} by the hook: {NOT_RUNNING}", START)
    if SYSTEMD in bus.names and (found := await _of_units(bus)):
        return found
    if not is_asked_by_programs(case.host):
        return warning(f"{NO_NAMES}: {NOT_ASKED}", USE_STUB)
    return ok("this host finds names by the hook of systemd-resolved")


async def _of_units(bus: Bus) -> Finding | None:
    """Return what is wrong with the socket or the service, None if nothing is."""
    state = await active_state(bus, UNIT)
    if state == "failed":
        return warning(f"{NO_NAMES}: {UNIT} has failed; see {JOURNAL}", RETRY)
    if state != "active":
        return warning(f"{NO_NAMES}: {UNIT} is not active", ENABLE)
    if await active_state(bus, SERVICE) not in RUNNING:
        return warning(f"{NO_NAMES}: {SERVICE} is not active", f"systemctl start {SERVICE}")
    if await file_state(bus, UNIT) != "enabled":
        return warning(f"{UNIT} is not enabled; it is not active after a boot", ENABLE)
    return None
