"""Checks of the gates, through which the system's agent sends requests to engines and to Caddy."""

import asyncio
from collections.abc import Mapping, Sequence
from pathlib import Path

from koi_agent.cli import records
from koi_agent.cli.async_client import AsyncClient
from koi_agent.cli.doctor.findings import Bus, Case, Finding, failure, ok, warning
from koi_agent.cli.doctor.units import SYSTEMD, active_state, file_state
from koi_agent.config import Flags, load
from koi_agent.core.dbus_names import BACKEND
from koi_agent.core.errors import ConfigError
from koi_agent.host.caddy.sockets import ADMIN_SOCKET, CADDY
from koi_agent.host.engines import SOCKETS as ENGINES
from koi_agent.host.engines import SocketUnit, gate_socket, gate_unit
from koi_agent.host.incus import SERVERS

SOCKETS: dict[str, tuple[str, ...]] = {
    **{name: (path,) for name, path in ENGINES.items()},
    **SERVERS,
}
"""The usual sockets of each backend that has a gate."""


async def gates(case: Case, bus: Bus) -> Sequence[Finding]:
    """Check that each gate listens or will listen; a user's agent needs no gate."""
    if case.scope == "user" or SYSTEMD not in bus.names:
        return []
    endpoints = await _endpoints(bus) if case.served else dict.fromkeys(SOCKETS, "")
    found = [
        await _gate(case, bus, engine, endpoints[engine])
        for engine in SOCKETS
        if engine in endpoints
    ]
    if await asyncio.to_thread(_uses_caddy, case):
        found.append(await gate_of(case, bus, CADDY, (ADMIN_SOCKET,)))
    return found


def _uses_caddy(case: Case) -> bool:
    """Return True if the agent uses Caddy at a socket for which there is a gate."""
    try:
        config = load(Flags(scope=case.scope), case.environment).config
    except ConfigError:  # the check of the configuration reports it
        return False
    is_on = {"auto", "caddy"} & {*config.capabilities.proxy}
    return bool(is_on and config.proxy.caddy and config.proxy.caddy.path == ADMIN_SOCKET)


async def _endpoints(bus: Bus) -> Mapping[str, str]:
    """Return the endpoint of each backend, or "" if it is not connected."""
    client = AsyncClient(bus.link)
    found: dict[str, str] = {}
    for path in await client.backend_paths():
        backend = records.backend(await client.properties(path, BACKEND))
        found[backend["name"]] = backend["endpoint"] if backend["state"] == "synced" else ""
    return found


async def _gate(case: Case, bus: Bus, engine: str, endpoint: str) -> Finding:
    if endpoint and endpoint != gate_socket(engine):
        return ok(f"{engine}: followed at {endpoint}, without a gate")
    return await gate_of(case, bus, engine, SOCKETS[engine])


async def gate_of(case: Case, bus: Bus, name: str, upstreams: Sequence[str]) -> Finding:
    """Check that the gate in front of the first socket that exists listens, or will listen."""
    unit = gate_unit(name)
    gate = unit.removesuffix(".path")
    file = await file_state(bus, unit)
    path, socket, service = [
        await active_state(bus, f"{gate}.{kind}") for kind in ("path", "socket", "service")
    ]
    if not file:
        return warning(f"{name}: {unit} is not installed", case.reinstall)
    if file.startswith("masked") and socket != "active":
        return ok(f"{name}: gate masked")
    if "failed" in (path, socket, service):
        text = f"{name}: gate failed; see journalctl -u {gate}.service"
        return failure(text, f"systemctl restart {unit}")
    if socket == "active":
        return ok(f"{name}: gate listening")
    if path == "active":
        unit_advice = SocketUnit(engine=name, scope="system").advice()
        hint = f": {unit_advice}" if unit_advice else ""
        return ok(f"{name}: gate starts when {' or '.join(upstreams)} exists{hint}")
    return await asyncio.to_thread(_inactive, name, upstreams, unit)


def _inactive(name: str, upstreams: Sequence[str], unit: str) -> Finding:
    """Return whether an inactive gate is a problem: only if a socket behind it exists."""
    is_denied = False
    for upstream in upstreams:
        try:
            Path(upstream).stat()
        except PermissionError:  # only root can read the folder of Podman's socket
            is_denied = True
        except OSError:
            continue
        else:
            return warning(f"{name}: gate not running", f"systemctl start {unit}")
    if is_denied:
        return ok(f"{name}: gate not running; run this as root to check for the engine")
    return ok(f"{name}: gate not running; there is no {' or '.join(upstreams)}")
