"""The doctor's check of the mDNS providers."""

from collections.abc import Mapping
from pathlib import Path

import pytest

from koi_agent.bus.interfaces import Emits, Interface, Method, Property, interface
from koi_agent.cli.doctor import network
from koi_agent.cli.doctor.findings import Host
from koi_agent.host.resolver import RESOLVED
from tests.bus.doctor_setup import Setup
from tests.bus.tables import playing
from tests.world.bus import PrivateBus

START_AVAHI = "systemctl enable --now avahi-daemon"


@pytest.fixture
def setup(bus: PrivateBus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Setup:
    monkeypatch.setenv("DBUS_SESSION_BUS_ADDRESS", bus.address)
    monkeypatch.setenv("DBUS_SYSTEM_BUS_ADDRESS", bus.address)
    host = Host(distributions=["ubuntu", "debian"], avahi_daemon=tmp_path / "avahi-daemon")
    return Setup(bus, tmp_path, host)


def install(setup: Setup, program: str) -> None:
    if program:
        (setup.folder / program).touch()


def configure(setup: Setup, mdns: str) -> None:
    file = setup.folder / ".config/koi-runtime/koi-runtime.conf"
    file.parent.mkdir(parents=True)
    file.write_text(f"[Capabilities]\nMDNS={mdns}\n")


def avahi() -> Mapping[str, Interface]:
    version = Method(
        name="GetVersionString", handle=lambda _: ("avahi 0.8",), returns=(("version", "s"),)
    )
    return {"/": interface(network.AVAHI_SERVER[2], version)}


def resolved(setting: str) -> Mapping[str, Interface]:
    _, path, name = network.RESOLVED_MANAGER
    return {path: interface(name, Property("MulticastDNS", "s", Emits.FALSE, lambda _: setting))}


async def test_a_running_avahi_is_ok(setup: Setup) -> None:
    async with playing(setup.bus.address, network.AVAHI, avahi()):
        found = (await setup.findings())["mdns"]
    assert found == [("ok", "avahi 0.8 announces services and host names", "")]


@pytest.mark.parametrize(
    ("provider", "installed", "verdict", "advice"),
    [
        ("auto", "", "ok", ""),
        ("auto", "avahi-daemon", "warn", START_AVAHI),
        ("avahi", "avahi-daemon", "warn", START_AVAHI),
        ("avahi", "", "warn", "apt install avahi-daemon"),
        ("resolved", "avahi-daemon", "warn", "systemctl enable --now systemd-resolved"),
        ("off", "avahi-daemon", "ok", ""),
    ],
)
async def test_a_missing_provider_is_a_warning_with_advice(
    setup: Setup, provider: str, installed: str, verdict: str, advice: str
) -> None:
    configure(setup, provider)
    install(setup, installed)
    ((found, _, what_next),) = (await setup.findings())["mdns"]
    assert (found, what_next) == (verdict, advice)


@pytest.mark.parametrize(
    ("setting", "installed", "verdict"),
    [("yes", "", "ok"), ("no", "", "ok"), ("resolve", "avahi-daemon", "warn")],
)
async def test_resolved_announces_only_with_multicast_dns(
    setup: Setup, setting: str, installed: str, verdict: str
) -> None:
    install(setup, installed)
    async with playing(setup.bus.address, RESOLVED, resolved(setting)):
        ((found, text, _),) = (await setup.findings())["mdns"]
    assert found == verdict
    assert ("announces services" in text) == (setting == "yes")
