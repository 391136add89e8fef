"""The doctor's check of what systemd-machined shows to the agent."""

from pathlib import Path

import pytest

from koi_agent.backends.machined.machines import Machine, Network, instance_of
from koi_agent.cli.doctor.findings import Host
from koi_agent.core.events import Followed, Listing
from tests.bus.clients import agent
from tests.bus.doctor_setup import Setup
from tests.world.bus import PrivateBus

DENIED = Network(problem="polkit does not permit it to the agent", is_denied=True)
REINSTALL = "apt install --reinstall ./koi-runtime_*.deb"


@pytest.fixture
def setup(bus: PrivateBus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Setup:
    monkeypatch.setenv("DBUS_SESSION_BUS_ADDRESS", bus.address)
    monkeypatch.setenv("DBUS_SYSTEM_BUS_ADDRESS", bus.address)
    return Setup(bus, tmp_path, Host(distributions=["debian"]))


@pytest.mark.parametrize(
    ("networks", "expected"),
    [
        ([], []),
        ([Network()], [("ok", "the agent may read the addresses of all machines", "")]),
        (
            [DENIED, DENIED],
            [("warn", "addresses: polkit does not permit it to the agent", REINSTALL)],
        ),
    ],
    ids=["none", "permitted", "denied"],
)
async def test_forbidden_addresses_are_a_warning(
    setup: Setup, networks: list[Network], expected: list[tuple[str, str, str]]
) -> None:
    machines = [
        instance_of(
            Machine(name=f"m{number}", path="/", kind="container", state="running"),
            network,
        )
        for number, network in enumerate(networks)
    ]
    async with agent(setup.bus) as running:
        running.apply(Followed("machined", "machined"))
        running.apply(Listing(backend="machined", instances=machines))
        found = await setup.findings("system")
    assert found.get("machines", []) == expected
    assert [verdict for verdict, *_ in found["unit-files"]] == ["ok"]
