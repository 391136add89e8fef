"""Checks of the gates, through which the system's agent asks container engines."""

import asyncio
from collections.abc import Mapping, Sequence
from pathlib import Path

from koi_agent.cli import records
from koi_agent.cli.client import Client
from koi_agent.cli.doctor.findings import Bus, Case, Finding, doubtful, fine, wrong
from koi_agent.cli.doctor.units import SYSTEMD, active_state, file_state
from koi_agent.core.dbus_names import BACKEND
from koi_agent.host.engines import SOCKETS, gate_socket, gate_unit


async def gates(case: Case, bus: Bus) -> Sequence[Finding]:
    """See whether each gate is open, or will be; a user's agent needs none."""
    if case.scope == "user" or SYSTEMD not in bus.names:
        return []
    endpoints = await _endpoints(bus) if case.served else dict.fromkeys(SOCKETS, "")
    return [
        await _of_engine(case, bus, engine, endpoints[engine])
        for engine in SOCKETS
        if engine in endpoints
    ]


async def _endpoints(bus: Bus) -> Mapping[str, str]:
    """Tell where each engine that is followed is asked now; "" is nowhere."""
    service = Client(bus.link)
    found: dict[str, str] = {}
    for path in await service.backend_paths():
        backend = records.backend(await service.properties(path, BACKEND))
        found[backend["name"]] = backend["endpoint"] if backend["state"] == "synced" else ""
    return found


async def _of_engine(case: Case, bus: Bus, engine: str, endpoint: str) -> Finding:
    unit = gate_unit(engine)
    gate = unit.removesuffix(".path")
    file = await file_state(bus, unit)
    path, socket, service = [
        await active_state(bus, f"{gate}.{kind}") for kind in ("path", "socket", "service")
    ]
    if endpoint and endpoint != gate_socket(engine):
        return fine(f"{engine}: followed at {endpoint}")
    if not file:
        return doubtful(f"{engine}: there is no {unit}", case.reinstall)
    if file.startswith("masked") and socket != "active":
        return fine(f"{engine}: its gate is masked")
    if "failed" in (path, socket, service):
        said = f"{engine}: its gate has failed; journalctl -u {gate}.service says why"
        return wrong(said, f"systemctl restart {unit}")
    if socket == "active":
        return fine(f"{engine}: its gate is open")
    if path == "active":
        return fine(f"{engine}: its gate opens when {SOCKETS[engine]} is there")
    return await asyncio.to_thread(_closed, engine, unit)


def _closed(engine: str, unit: str) -> Finding:
    """Say whether it matters that a gate is closed; only root sees where Podman listens."""
    try:
        Path(SOCKETS[engine]).stat()
    except PermissionError:
        return fine(f"{engine}: its gate is closed; root is told whether that matters")
    except OSError:
        return fine(f"{engine}: its gate is closed, and nobody is behind it")
    return doubtful(f"{engine}: its gate is closed", f"systemctl start {unit}")
