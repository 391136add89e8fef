"""Checks of those who make known to the network what opted in; they are on the system's bus."""

from collections.abc import Sequence
from pathlib import Path

from koi_agent.bus.client import Link
from koi_agent.cli.doctor.findings import DRIVER, Bus, Case, Finding, doubtful, fine
from koi_agent.cli.service import bus
from koi_agent.config import Flags, load

AVAHI = "org.freedesktop.Avahi"
AVAHI_SERVER = (AVAHI, "/", f"{AVAHI}.Server")
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


async def _announcer(wished: str, link: Link) -> Finding:
    (names,) = await link.call(DRIVER, "ListNames")
    if AVAHI in names and wished != "resolved":
        return await _avahi(link)
    if RESOLVED in names and wished != "avahi":
        return await _resolved(link)
    if wished == "auto" and not _avahi_is_installed():
        return fine("nobody is here who could announce what opts in: that takes avahi-daemon")
    unit = "systemd-resolved" if wished == "resolved" else "avahi-daemon"
    return doubtful(f"nobody: {unit} does not run", f"systemctl enable --now {unit}")


def _avahi_is_installed() -> bool:
    return AVAHI_DAEMON.exists()


async def _avahi(link: Link) -> Finding:
    (version,) = await link.call(AVAHI_SERVER, "GetVersionString")
    return fine(f"{version} announces services and host names")


async def _resolved(link: Link) -> Finding:
    """See whether it speaks mDNS at all; of links that do not, its announcements tell."""
    destination, path, interface = RESOLVED_MANAGER
    speaks = await link.get(destination, path, interface, "MulticastDNS")
    if speaks == "yes":
        return fine("systemd-resolved announces services; it can't announce host names")
    text = f"nobody: systemd-resolved has MulticastDNS={speaks}, and Avahi does not run"
    if _avahi_is_installed():
        return doubtful(text, "systemctl enable --now avahi-daemon")
    return fine(text)
