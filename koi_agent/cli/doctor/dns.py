"""Checks of the outlets of DNS names."""

import asyncio
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

from koi_agent.cli.doctor.findings import Bus, Case, Finding, Host, ok, warning
from koi_agent.config import Config, Flags, Listen, load
from koi_agent.core.text import printable
from koi_agent.host.resolver import resolved_version

RESOLVED: Final = "org.freedesktop.resolve1"
STATIC_SINCE: Final = 261
USE_STUB: Final = "ln -sf ../run/systemd/resolve/stub-resolv.conf /etc/resolv.conf"
STUB: Final = "127.0.0.53"


async def dns(case: Case, reached: Bus) -> Sequence[Finding]:
    """Check each outlet that is configured, and what this host can have."""
    config = load(Flags(scope=case.scope), case.environment).config
    words = config.capabilities.dns
    if words == ("off",):
        return [ok("turned off by [Capabilities] DNS=")]
    found = []
    if case.scope == "system" and not {"auto", "static"}.isdisjoint(words):
        found.append(_static(case.host, runs=RESOLVED in reached.names, is_asked="static" in words))
    found += _directories(config)
    if reached.owner and {"auto", "server"} & {*words}:
        found += [await _listener(one) for one in config.dns.listen]
    return found or [ok("no outlet is configured")]


def _static(host: Host, *, runs: bool, is_asked: bool) -> Finding:
    """Check that this host finds names by static records of systemd-resolved."""
    version = resolved_version(host.libraries)
    if version < STATIC_SINCE:
        has = f"version {version} is installed" if version else "it is not installed"
        text = f"this host finds no names: systemd-resolved {STATIC_SINCE} is needed, and {has}"
        return warning(text, "systemctl edit koi-runtime") if is_asked else ok(text)
    if not runs:
        text = "this host finds no names: systemd-resolved is not running"
        start = "systemctl enable --now systemd-resolved"
        return warning(text, start) if is_asked else ok(text)
    if not _is_asked_by_programs(host):
        text = "programs of this host do not ask systemd-resolved, so they find no names"
        return warning(text, USE_STUB)
    return ok(f"this host finds names by static records of systemd-resolved {version}")


def _is_asked_by_programs(host: Host) -> bool:
    """Return True if libc asks systemd-resolved: by its stub, or by nss-resolve(8)."""
    servers = [line.split()[1:2] for line in _lines(host.resolver) if line.startswith("nameserver")]
    services = [line for line in _lines(host.name_services) if line.startswith("hosts:")]
    return [STUB] in servers or any("resolve" in line.split() for line in services)


def _lines(path: Path) -> Sequence[str]:
    try:
        return path.read_text("utf-8", "replace").splitlines()
    except OSError:
        return ()


def _directories(config: Config) -> Iterator[Finding]:
    path = config.dns.hosts_directory
    if path and {"auto", "hosts"} & {*config.capabilities.dns}:
        shown = f"[DNS] HostsDirectory={printable(path)}"
        if Path(path).is_dir():
            yield ok(f"{shown} is there")
        else:
            yield warning(f"{shown}: not a directory", f"install -d -o _koi-runtime '{path}'")


async def _listener(listen: Listen) -> Finding:
    """Check that an address answers; DNS servers answer over TCP, too."""
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(listen.host, listen.host)  # noqa: S104
    shown = f"[DNS] Listen= on {host} port {listen.port}"
    try:
        _, writer = await asyncio.open_connection(host, listen.port)
    except OSError as error:
        return warning(f"{shown}: {error.strerror}", "journalctl -u koi-runtime -g 'Listen='")
    writer.transport.abort()
    return ok(f"{shown} answers")
