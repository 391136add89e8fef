"""The doctor's check of the reverse proxies."""

import socket
from pathlib import Path

import pytest

from tests.bus.doctor_setup import Setup
from tests.world.bus import PrivateBus


@pytest.fixture
def setup(bus: PrivateBus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Setup:
    monkeypatch.setenv("DBUS_SESSION_BUS_ADDRESS", bus.address)
    return Setup(bus, tmp_path)


def configure(setup: Setup, text: str) -> None:
    file = setup.folder / ".config/koi-runtime/koi-runtime.conf"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)


async def proxy(setup: Setup) -> tuple[str, str, str]:
    (found,) = (await setup.findings())["proxy"]
    return found


async def test_a_host_without_a_proxy_has_nothing_to_check(setup: Setup) -> None:
    assert await proxy(setup) == ("ok", "no proxy is configured", "")
    configure(setup, "[Capabilities]\nProxy=off\n")
    assert (await proxy(setup))[0] == "ok"
    configure(setup, "[Capabilities]\nProxy=caddy\n")
    assert (await proxy(setup))[:2] == ("warn", "[Proxy] Caddy= is not set")


async def test_the_admin_api_must_accept_connections(setup: Setup) -> None:
    path = setup.folder / "admin.sock"
    configure(setup, f"[Proxy]\nCaddy={path}\n")
    shown = f"[Proxy] Caddy={path}"
    verdict, text, advice = await proxy(setup)
    assert (verdict, text) == ("warn", f"{shown}: No such file or directory")
    assert advice == "systemctl status caddy"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()
        assert await proxy(setup) == ("ok", f"{shown} accepts connections", "")


async def test_the_directory_of_the_file_for_traefik_must_be_there(setup: Setup) -> None:
    path = setup.folder / "traefik/koi.yml"
    configure(setup, f"[Proxy]\nTraefikFile={path}\n")
    verdict, text, advice = await proxy(setup)
    assert (verdict, advice) == ("warn", f"install -d {path.parent}")
    assert "its directory does not exist" in text
    path.parent.mkdir()
    assert (await proxy(setup))[1].endswith("is not written yet")
    path.touch()
    assert (await proxy(setup))[1].endswith("exists")
