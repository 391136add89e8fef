"""Checks of the gates, through which the system's agent asks container engines."""

import asyncio
import os
from collections.abc import Sequence

from koi_agent.backends.docker.sockets import DOCKER_SOCKET, PODMAN_SOCKET
from koi_agent.cli.doctor.findings import Bus, Case, Finding, doubtful, fine, wrong
from koi_agent.cli.doctor.units import SYSTEMD, active_state, file_state

ENGINES = {"docker": DOCKER_SOCKET, "podman": PODMAN_SOCKET}


async def gates(case: Case, bus: Bus) -> Sequence[Finding]:
    """See whether each engine's gate is open, or will be; a user's agent needs none."""
    if case.scope == "user" or SYSTEMD not in bus.names:
        return []
    return [await _of_engine(case, bus, engine) for engine in ENGINES]


async def _of_engine(case: Case, bus: Bus, engine: str) -> Finding:
    gate = f"koi-runtime-gate@{engine}"
    if not await file_state(bus, f"{gate}.path"):
        return doubtful(f"{engine}: there is no {gate}.path", case.reinstall)
    path, socket, service = [
        await active_state(bus, f"{gate}.{kind}") for kind in ("path", "socket", "service")
    ]
    if "failed" in (path, socket, service):
        return wrong(
            f"{engine}: its gate has failed", f"systemctl restart {gate}.path {gate}.socket"
        )
    if socket == "active":
        return fine(f"{engine}: its gate is open")
    here = await asyncio.to_thread(
        os.path.exists, ENGINES[engine]
    )  # Path's fails on closed folders
    if path == "active" and not here:
        return fine(f"{engine}: its gate opens when {ENGINES[engine]} is there")
    if not here:
        return fine(f"{engine}: its gate is closed, and nobody is behind it")
    return doubtful(f"{engine}: its gate is closed", f"systemctl enable --now {gate}.path")
