"""The reverse proxies that serve instances."""

import asyncio
from collections.abc import Sequence
from errno import EACCES
from os import strerror
from pathlib import Path
from shlex import quote
from typing import Final

from koi_agent.cli.doctor.findings import Bus, Case, Finding, ok, warning
from koi_agent.config import Flags, load
from koi_agent.config.proxy import AdminAddress
from koi_agent.core.text import printable
from koi_agent.host.caddy.sockets import ADMIN_SOCKET
from koi_agent.timeouts import timeout

CONNECT: Final = 3.0
"""Seconds for a connection."""


async def proxy(case: Case, _reached: Bus) -> Sequence[Finding]:
    """Check each proxy that is configured."""
    config = load(Flags(scope=case.scope), case.environment).config
    words = {*config.capabilities.proxy}
    if words == {"off"}:
        return [ok("turned off by [Capabilities] Proxy=")]
    found = []
    if config.proxy.caddy and words & {"auto", "caddy"}:
        found.append(await _caddy(config.proxy.caddy))
    elif "caddy" in words:
        found.append(warning("[Proxy] Caddy= is not set", "man koi-runtime.conf"))
    if config.proxy.traefik_file and words & {"auto", "traefik"}:
        found.append(_file(Path(config.proxy.traefik_file)))
    return found or [ok("no proxy is configured")]


async def _caddy(address: AdminAddress) -> Finding:
    """Check that something accepts connections at the address of Caddy's admin API."""
    shown = f"[Proxy] Caddy={printable(str(address))}"
    try:
        async with timeout(CONNECT):
            if address.path:
                _, writer = await asyncio.open_unix_connection(address.path)
            else:
                _, writer = await asyncio.open_connection(address.host, address.port)
    except PermissionError:
        if address.path == ADMIN_SOCKET:  # the check of gates reports this
            return ok(f"{shown} exists; run this as root to check that it accepts connections")
        return warning(f"{shown}: {strerror(EACCES)}", "man koi-runtime.conf")
    except OSError as error:  # TimeoutError is a subclass
        reason = error.strerror or f"no answer within {CONNECT:g} s"
        return warning(f"{shown}: {reason}", "systemctl status caddy")
    writer.transport.abort()
    whose = "" if address.path else ", from all users of this host"
    return ok(f"{shown} accepts connections{whose}")


def _file(path: Path) -> Finding:
    """Check that the directory of the file for Traefik exists."""
    shown = f"[Proxy] TraefikFile={printable(str(path))}"
    if not path.parent.is_dir():
        return warning(
            f"{shown}: its directory does not exist", f"install -d {quote(str(path.parent))}"
        )
    return ok(f"{shown} {'exists' if path.exists() else 'is not written yet'}")
