"""Checks of those who make known to the network what opted in; they are on the system's bus."""

from collections.abc import Sequence
from pathlib import Path

from koi_agent.bus.client import Connection
from koi_agent.cli.client import bus
from koi_agent.cli.doctor.findings import (
    DRIVER,
    Bus,
    Case,
    Finding,
    doubtful,
    fine,
    of_distribution,
)
from koi_agent.config import Flags, load

AVAHI = "org.freedesktop.Avahi"
AVAHI_SERVER = (AVAHI, "/", f"{AVAHI}.Server")
INSTALLING = {
    "debian": "apt install avahi-daemon",
    "fedora": "dnf install avahi",
    "arch": "pacman -S avahi",
}
SPEAK = (
    "mkdir -p /etc/systemd/resolved.conf.d"
    r" && printf '[Resolve]\nMulticastDNS=yes\n' >/etc/systemd/resolved.conf.d/mdns.conf"
    " && systemctl restart systemd-resolved"
)
AVAHI_DAEMON = Path("/usr/sbin/avahi-daemon")
RESOLVED = "org.freedesktop.resolve1"
RESOLVED_MANAGER = (RESOLVED, "/org/freedesktop/resolve1", f"{RESOLVED}.Manager")


async def mdns(case: Case, met: Bus) -> Sequence[Finding]:
    """See who announces by mDNS: whom the configuration names, or the first who runs."""
    wished = load(Flags(scope=case.scope), case.environment).config.capabilities.mdns
    if wished == "off":
        return [fine("off, by [Capabilities] MDNS")]
    if case.scope == "system":
        return [await _announcer(wished, met.link)]
    async with bus("system") as link:
        return [await _announcer(wished, link)]


async def _announcer(wished: str, link: Connection) -> Finding:
    (names,) = await link.call(DRIVER, "ListNames")
    if AVAHI in names and wished != "resolved":
        return await _avahi(link)
    if RESOLVED in names and wished != "avahi":
        return await _resolved(wished, link)
    if wished == "auto" and not _avahi_is_installed():
        return fine("nobody is here who could announce what opts in: that takes avahi-daemon")
    if wished == "resolved":
        start = "systemctl enable --now systemd-resolved"
        return doubtful("nobody: systemd-resolved does not run", start)
    return doubtful("nobody: avahi-daemon does not run", _avahi_wanted())


def _avahi_is_installed() -> bool:
    return AVAHI_DAEMON.exists()


def _avahi_wanted() -> str:
    """Say what to type for an Avahi."""
    if _avahi_is_installed():
        return "systemctl enable --now avahi-daemon"
    return of_distribution(INSTALLING, "install avahi-daemon")


async def _avahi(link: Connection) -> Finding:
    (version,) = await link.call(AVAHI_SERVER, "GetVersionString")
    return fine(f"{version} announces services and host names")


async def _resolved(wished: str, link: Connection) -> Finding:
    """See whether it speaks mDNS at all; of links that do not, its announcements tell."""
    destination, path, interface = RESOLVED_MANAGER
    speaks = await link.get(destination, path, interface, "MulticastDNS")
    if speaks == "yes":
        return fine("systemd-resolved announces services; it can't announce host names")
    text = f"nobody: systemd-resolved has MulticastDNS={speaks}"
    if wished == "resolved":
        return doubtful(text, SPEAK)
    text = f"{text}, and Avahi does not run"
    return doubtful(text, _avahi_wanted()) if _avahi_is_installed() else fine(text)
