"""Checks of the outlets of DNS names."""

import asyncio
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from shlex import quote
from typing import Final

from koi_agent.cli.doctor.findings import Bus, Case, Finding, ok, warning
from koi_agent.cli.doctor.hook import hook
from koi_agent.cli.doctor.link import LINK_UNIT, link
from koi_agent.cli.doctor.resolver import (
    NO_NAMES,
    NOT_ASKED,
    NOT_RUNNING,
    START,
    USE_STUB,
    is_asked_by_programs,
)
from koi_agent.cli.doctor.units import SYSTEMD, active_state, file_state
from koi_agent.config import Config, Flags, Listen, load
from koi_agent.config.dns import DNSConfig, Server
from koi_agent.core.text import printable
from koi_agent.host.resolver import RESOLVED, static_obstacle

CONNECT: Final = 3.0
"""Seconds for a connection."""
SOCKET_UNIT: Final = "koi-runtime-dns.socket"


async def dns(case: Case, reached: Bus) -> Sequence[Finding]:
    """Check each outlet that is configured, and what this host can have."""
    config = load(Flags(scope=case.scope), case.environment).config
    words = config.capabilities.dns
    if words == ("off",):
        return [ok("turned off by [Capabilities] DNS=")]
    found = []
    if routed := await link(case, reached, config.dns):
        found.append(routed)
    elif "static" in words or (words == ("auto",) and case.scope == "system"):
        problem = warning if "static" in words else _no_problem
        found.append(_static(case, problem, runs=RESOLVED in reached.names))
    if "hook" in words:
        found.append(await hook(case, reached))
    found += _directories(config, case.scope)
    if reached.owner and {"auto", "server"} & {*words}:
        found += [await _listener(one) for one in config.dns.listen]
    if case.scope == "system" and SYSTEMD in reached.names and {"auto", "server"} & {*words}:
        found += await _passed(reached)
    if config.dns.update and {"auto", "update"} & {*words}:
        found.append(await _updated(config.dns.update, config.dns))
    return found or [ok("no outlet is configured")]


def _no_problem(text: str, _advice: str) -> Finding:
    """Return the finding for what was not configured, and is not possible on this host."""
    return ok(text)


def _static(case: Case, problem: Callable[[str, str], Finding], *, runs: bool) -> Finding:
    """Check that this host finds names by static records of systemd-resolved."""
    if obstacle := static_obstacle(case.scope, case.host.libraries):
        text = f"{NO_NAMES} by static records: {obstacle}; use [DNS] Listen=5354 with {LINK_UNIT}"
        return problem(text, f"systemctl enable --now {LINK_UNIT}")
    if not runs:
        return problem(f"{NO_NAMES} by static records: {NOT_RUNNING}", START)
    if not is_asked_by_programs(case.host):
        return problem(f"{NO_NAMES}: {NOT_ASKED}", USE_STUB)
    return ok("this host finds names by static records of systemd-resolved")


def _directories(config: Config, scope: str) -> Iterator[Finding]:
    path = config.dns.hosts_directory
    if path and {"auto", "hosts"} & {*config.capabilities.dns}:
        shown = f"[DNS] HostsDirectory={printable(path)}"
        if Path(path).is_dir():
            yield ok(f"{shown} is there")
        else:
            owner = "-o _koi-runtime " if scope == "system" else ""
            yield warning(f"{shown}: not a directory", f"install -d {owner}{quote(path)}")


async def _passed(bus: Bus) -> Sequence[Finding]:
    """Check that the sockets for DNS are open if their unit is enabled."""
    if await active_state(bus, SOCKET_UNIT) == "active":
        return [ok(f"{SOCKET_UNIT} is open")]
    if await file_state(bus, SOCKET_UNIT) == "enabled":
        return [warning(f"{SOCKET_UNIT} is enabled and not open", "systemctl restart koi-runtime")]
    return []


async def _listener(listen: Listen) -> Finding:
    """Check that an address answers; DNS servers answer over TCP, too."""
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(listen.host, listen.host)  # noqa: S104
    shown = f"[DNS] Listen= on {host} port {listen.port}"
    if trouble := await _trouble(host, listen.port):
        return warning(f"{shown}: {trouble}", "journalctl -u koi-runtime -g 'Listen='")
    return ok(f"{shown} answers")


async def _updated(server: Server, dns: DNSConfig) -> Finding:
    """Check that the server of updates can be reached, and that there is a key."""
    shown = f"[DNS] Update={server}"
    if not dns.update_key:
        return warning(f"{shown}: [DNS] UpdateKey= is not set", "man koi-runtime.conf")
    if trouble := await _trouble(server.host, server.port):
        zone = dns.update_zone or dns.domain
        check = f"dig +tcp @{server.host} -p {server.port} {zone} SOA"
        return warning(f"{shown}: {trouble}", check)
    return ok(f"{shown} answers")


async def _trouble(host: str, port: int) -> str:
    """Return the reason why an address can't be connected to, "" for none."""
    try:
        async with asyncio.timeout(CONNECT):
            _, writer = await asyncio.open_connection(host, port)
    except OSError as error:  # a TimeoutError is one, too
        return error.strerror or f"no answer within {CONNECT:g} s"
    writer.transport.abort()
    return ""
