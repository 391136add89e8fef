"""What the doctor says of those who announce by mDNS."""

from collections.abc import Mapping
from pathlib import Path

import pytest

from koi_agent.bus.interfaces import Emits, Interface, Method, Property, interface
from koi_agent.cli.doctor import findings, network
from tests.bus.patients import Place
from tests.bus.tables import playing
from tests.world.bus import PrivateBus

START_AVAHI = "systemctl enable --now avahi-daemon"


@pytest.fixture
def place(bus: PrivateBus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Place:
    monkeypatch.setenv("DBUS_SESSION_BUS_ADDRESS", bus.address)
    monkeypatch.setenv("DBUS_SYSTEM_BUS_ADDRESS", bus.address)
    monkeypatch.setattr(network, "AVAHI_DAEMON", tmp_path / "avahi-daemon")
    monkeypatch.setattr(findings, "distributions", lambda: ["ubuntu", "debian"])
    return Place(bus, tmp_path)


def install(place: Place, program: str) -> None:
    if program:
        (place.folder / program).touch()


def configure(place: Place, mdns: str) -> None:
    file = place.folder / ".config/koi-runtime/koi-runtime.conf"
    file.parent.mkdir(parents=True)
    file.write_text(f"[Capabilities]\nMDNS={mdns}\n")


def avahi() -> Mapping[str, Interface]:
    version = Method(
        name="GetVersionString", handle=lambda _: ("avahi 0.8",), returns=(("version", "s"),)
    )
    return {"/": interface(network.AVAHI_SERVER[2], version)}


def resolved(speaks: str) -> Mapping[str, Interface]:
    _, path, name = network.RESOLVED_MANAGER
    return {path: interface(name, Property("MulticastDNS", "s", Emits.FALSE, lambda _: speaks))}


async def test_an_avahi_that_runs_is_fine(place: Place) -> None:
    async with playing(place.bus.address, network.AVAHI, avahi()):
        found = (await place.findings())["mdns"]
    assert found == [("ok", "avahi 0.8 announces services and host names", "")]


@pytest.mark.parametrize(
    ("wished", "installed", "verdict", "advice"),
    [
        ("auto", "", "ok", ""),
        ("auto", "avahi-daemon", "warn", START_AVAHI),
        ("avahi", "avahi-daemon", "warn", START_AVAHI),
        ("avahi", "", "warn", "apt install avahi-daemon"),
        ("resolved", "avahi-daemon", "warn", "systemctl enable --now systemd-resolved"),
        ("off", "avahi-daemon", "ok", ""),
    ],
)
async def test_nobody_is_a_trouble_where_somebody_was_wished(
    place: Place, wished: str, installed: str, verdict: str, advice: str
) -> None:
    configure(place, wished)
    install(place, installed)
    ((found, _, what_next),) = (await place.findings())["mdns"]
    assert (found, what_next) == (verdict, advice)


@pytest.mark.parametrize(
    ("speaks", "installed", "verdict"),
    [("yes", "", "ok"), ("no", "", "ok"), ("resolve", "avahi-daemon", "warn")],
)
async def test_resolved_is_asked_whether_it_speaks(
    place: Place, speaks: str, installed: str, verdict: str
) -> None:
    install(place, installed)
    async with playing(place.bus.address, network.RESOLVED, resolved(speaks)):
        ((found, text, _),) = (await place.findings())["mdns"]
    assert found == verdict
    assert ("announces services" in text) == (speaks == "yes")
