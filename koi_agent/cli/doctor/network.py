"""Checks of the mDNS providers, which are on the system bus."""

from collections.abc import Sequence

from koi_agent.bus.client import Connection
from koi_agent.cli.async_client import bus
from koi_agent.cli.doctor.findings import DRIVER, Bus, Case, Finding, Host, ok, warning
from koi_agent.config import Flags, load
from koi_agent.host.resolver import RESOLVED

AVAHI = "org.freedesktop.Avahi"
AVAHI_SERVER = (AVAHI, "/", f"{AVAHI}.Server")
INSTALLING = {
    "debian": "apt install avahi-daemon",
    "fedora": "dnf install avahi",
    "arch": "pacman -S avahi",
}
ENABLE_MDNS = (
    "mkdir -p /etc/systemd/resolved.conf.d"
    r" && printf '[Resolve]\nMulticastDNS=yes\n' >/etc/systemd/resolved.conf.d/mdns.conf"
    " && systemctl restart systemd-resolved"
)
RESOLVED_MANAGER = (RESOLVED, "/org/freedesktop/resolve1", f"{RESOLVED}.Manager")


async def mdns(case: Case, reached: Bus) -> Sequence[Finding]:
    """Check that the configured mDNS provider runs, or any provider if none is configured."""
    provider = load(Flags(scope=case.scope), case.environment).config.capabilities.mdns
    if provider == "off":
        return [ok("turned off by [Capabilities] MDNS=")]
    if case.scope == "system":
        return [await _provider(provider, case.host, reached.link)]
    async with bus("system") as link:
        return [await _provider(provider, case.host, link)]


async def _provider(provider: str, host: Host, link: Connection) -> Finding:
    (names,) = await link.call(DRIVER, "ListNames")
    if AVAHI in names and provider != "resolved":
        return await _avahi(link)
    if RESOLVED in names and provider != "avahi":
        return await _resolved(provider, host, link)
    if provider == "auto" and not host.avahi_daemon.exists():
        return ok("no mDNS provider is installed; avahi-daemon is needed for announcements")
    if provider == "resolved":
        start = "systemctl enable --now systemd-resolved"
        return warning("no announcements: systemd-resolved is not running", start)
    return warning("no announcements: avahi-daemon is not running", _start_avahi(host))


def _start_avahi(host: Host) -> str:
    """Return the command that starts Avahi, or that installs it."""
    if host.avahi_daemon.exists():
        return "systemctl enable --now avahi-daemon"
    return host.choose(INSTALLING, "install avahi-daemon")


async def _avahi(link: Connection) -> Finding:
    (version,) = await link.call(AVAHI_SERVER, "GetVersionString")
    return ok(f"{version} announces services and host names")


async def _resolved(provider: str, host: Host, link: Connection) -> Finding:
    """Check MulticastDNS= of systemd-resolved; the status of records shows it for each link."""
    destination, path, interface = RESOLVED_MANAGER
    setting = await link.get(destination, path, interface, "MulticastDNS")
    if setting == "yes":
        return ok("systemd-resolved announces services, but it cannot announce host names")
    text = f"no announcements: systemd-resolved has MulticastDNS={setting}"
    if provider == "resolved":
        return warning(text, ENABLE_MDNS)
    text = f"{text}, and avahi-daemon is not running"
    return warning(text, _start_avahi(host)) if host.avahi_daemon.exists() else ok(text)
