"""Checks of the gates, through which the system's agent sends requests to container engines."""

import asyncio
from collections.abc import Mapping, Sequence
from pathlib import Path

from koi_agent.cli import records
from koi_agent.cli.async_client import AsyncClient
from koi_agent.cli.doctor.findings import Bus, Case, Finding, failure, ok, warning
from koi_agent.cli.doctor.units import SYSTEMD, active_state, file_state
from koi_agent.core.dbus_names import BACKEND
from koi_agent.host.engines import SOCKETS as ENGINES
from koi_agent.host.engines import SocketUnit, gate_socket, gate_unit
from koi_agent.host.incus import SERVERS

SOCKETS = {**ENGINES, **{name: paths[0] for name, paths in SERVERS.items()}}
"""The usual socket of each backend that has a gate."""


async def gates(case: Case, bus: Bus) -> Sequence[Finding]:
    """Check that each gate listens or will listen; a user's agent needs no gate."""
    if case.scope == "user" or SYSTEMD not in bus.names:
        return []
    endpoints = await _endpoints(bus) if case.served else dict.fromkeys(SOCKETS, "")
    return [
        await _gate(case, bus, engine, endpoints[engine])
        for engine in SOCKETS
        if engine in endpoints
    ]


async def _endpoints(bus: Bus) -> Mapping[str, str]:
    """Return the endpoint of each backend, or "" if it is not connected."""
    client = AsyncClient(bus.link)
    found: dict[str, str] = {}
    for path in await client.backend_paths():
        backend = records.backend(await client.properties(path, BACKEND))
        found[backend["name"]] = backend["endpoint"] if backend["state"] == "synced" else ""
    return found


async def _gate(case: Case, bus: Bus, engine: str, endpoint: str) -> Finding:
    unit = gate_unit(engine)
    gate = unit.removesuffix(".path")
    file = await file_state(bus, unit)
    path, socket, service = [
        await active_state(bus, f"{gate}.{kind}") for kind in ("path", "socket", "service")
    ]
    if endpoint and endpoint != gate_socket(engine):
        return ok(f"{engine}: followed at {endpoint}, without a gate")
    if not file:
        return warning(f"{engine}: {unit} is not installed", case.reinstall)
    if file.startswith("masked") and socket != "active":
        return ok(f"{engine}: gate masked")
    if "failed" in (path, socket, service):
        text = f"{engine}: gate failed; see journalctl -u {gate}.service"
        return failure(text, f"systemctl restart {unit}")
    if socket == "active":
        return ok(f"{engine}: gate listening")
    if path == "active":
        unit_advice = SocketUnit(engine=engine, scope="system").advice()
        hint = f": {unit_advice}" if unit_advice else ""
        return ok(f"{engine}: gate starts when {SOCKETS[engine]} exists{hint}")
    return await asyncio.to_thread(_inactive, engine, unit)


def _inactive(engine: str, unit: str) -> Finding:
    """Return whether an inactive gate is a problem: only if the engine's socket exists."""
    try:
        Path(SOCKETS[engine]).stat()
    except PermissionError:  # only root can read the folder of Podman's socket
        return ok(f"{engine}: gate not running; run this as root to check for the engine")
    except OSError:
        return ok(f"{engine}: gate not running; {SOCKETS[engine]} does not exist")
    return warning(f"{engine}: gate not running", f"systemctl start {unit}")
