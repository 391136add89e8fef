"""The doctor's check of the gates in front of engines."""

from pathlib import Path

import pytest

from koi_agent.cli.doctor import gates
from tests.bus.doctor_setup import Setup, systemd
from tests.world.bus import PrivateBus

UNIT = "koi-runtime-gate@lxd.path"


@pytest.fixture
def setup(bus: PrivateBus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Setup:
    monkeypatch.setenv("DBUS_SESSION_BUS_ADDRESS", bus.address)
    monkeypatch.setenv("DBUS_SYSTEM_BUS_ADDRESS", bus.address)
    return Setup(bus, tmp_path)


async def lxd(setup: Setup, active: str = "") -> tuple[str, str, str]:
    async with systemd(setup, file="enabled", active=active, unit_name=UNIT):
        found = (await setup.findings("system"))["gates"]
    (one,) = [finding for finding in found if finding[1].startswith("lxd: ")]
    return one


@pytest.mark.parametrize("package", ["debian", "snap"])
async def test_a_gate_must_run_if_any_usual_socket_exists(
    setup: Setup, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, package: str
) -> None:
    paths = tuple(f"{tmp_path}/{name}.socket" for name in ("debian", "snap"))
    monkeypatch.setitem(gates.SOCKETS, "lxd", paths)
    either = " or ".join(paths)
    assert await lxd(setup) == ("ok", f"lxd: gate not running; there is no {either}", "")
    assert await lxd(setup, "active") == ("ok", f"lxd: gate starts when {either} exists", "")
    (tmp_path / f"{package}.socket").touch()
    assert await lxd(setup) == ("warn", "lxd: gate not running", f"systemctl start {UNIT}")
