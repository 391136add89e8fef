"""A machine and its unit are one instance: the systemd backend reads the unit for the machine."""

from dataclasses import replace

import pytest

from koi_agent.backends.systemd.selection import MOST_PATTERNS, Selection
from koi_agent.config import SystemdConfig
from koi_agent.core.events import Change, Listing, Seen
from koi_agent.core.instance import (
    EnabledBy,
    Instance,
    InstanceState,
    KoiMetadata,
    PortMapping,
    PortSource,
    Protocol,
)
from koi_agent.core.key import Key
from koi_agent.core.ownership import in_place_of
from koi_agent.core.registry import Registry
from koi_agent.core.traits import HOST_MACHINE, MACHINE, MACHINE_UNIT, UNIT, Traits
from koi_agent.host.machine_units import MachineUnits
from tests.unit.things import gone, unit
from tests.unit.unit_table_harness import Harness, changed, row

NSPAWN = "systemd-nspawn@web.service"
WEB = Key("machined", "web")
UNIT_KEY = Key("systemd", NSPAWN)


def hidden_unit(**metadata: object) -> Instance:
    named = KoiMetadata(**metadata)  # type: ignore[arg-type]  # whatever the test names
    group = f"/machine.slice/{NSPAWN}"
    return replace(unit(NSPAWN, group=group), metadata=named, traits=MACHINE_UNIT)


def machine(traits: Traits = MACHINE, **more: object) -> Instance:
    base = Instance(
        id="web",
        name="web",
        backend="machined",
        state=InstanceState.RUNNING,
        unit=NSPAWN,
        traits=traits,
    )
    return replace(base, **more)  # type: ignore[arg-type]  # whatever the test names


def registry(*changes: Change) -> Registry:
    made = Registry({"systemd": "systemd", "machined": "machined"})
    for change in changes:
        made.apply(change, 1)
    return made


NAMES = [NSPAWN, "web.scope", "machine-web.scope", r"machine-qemu\x2d1\x2dvm.scope", "init.mount"]


@pytest.mark.parametrize("name", NAMES)
async def test_a_unit_is_followed_and_not_shown_while_it_is_that_of_a_machine(name: str) -> None:
    harness = Harness()
    assert not harness.table.filter.matches(name)
    harness.machine_units.put("web", name)
    harness.receive(*changed("active/running", name=name))
    await harness.answer()
    assert harness.last[name].traits == MACHINE_UNIT
    harness.machine_units.remove("web")
    assert harness.last == {}
    assert not harness.table.filter.matches(name)


async def test_a_unit_that_ran_before_its_machine_was_known_is_found() -> None:
    harness = Harness()
    harness.systemd.rows = [row("web.scope")]
    harness.machine_units.put("web", "web.scope")
    harness.table.deadlines_passed()
    await harness.answer()
    assert harness.last["web.scope"].traits == MACHINE_UNIT


async def test_a_unit_that_the_settings_select_outlives_its_machine() -> None:
    harness = Harness()
    harness.receive(*changed("active/running", name="web.service"))
    await harness.answer()
    harness.machine_units.put("web", "web.service")
    harness.machine_units.remove("web")
    assert harness.last["web.service"].traits == UNIT


def test_a_unit_that_the_settings_name_is_shown() -> None:
    config = SystemdConfig(units=("*.service",), exclude_units=())
    assert Selection(config, MachineUnits()).is_shown(NSPAWN)
    assert not Selection(SystemdConfig(), MachineUnits()).is_shown(NSPAWN)


def test_a_list_is_asked_for_the_units_of_machines_or_for_all() -> None:
    units = MachineUnits()
    selection = Selection(SystemdConfig(units=("*.service",)), units)
    units.put("selected", "selected.service")
    units.put("web", r"web\x2d1.scope")
    assert selection.patterns() == ["*.service", r"web\x2d1.scope"]
    for number in range(MOST_PATTERNS):
        units.put(f"m{number}", f"m{number}.scope")
    assert selection.patterns() == ["*"]


def test_each_change_of_the_units_of_machines_is_told_once() -> None:
    units, told = MachineUnits(), list[str]()
    units.watch(told.append)
    units.put("a", "both.service")
    units.put("a", "both.service")
    units.put("b", "both.service")
    units.put("c", "")
    units.remove("a")
    assert "both.service" in units
    units.put("b", "other.service")
    assert list(units) == ["other.service"]
    units.put("c", "third.service")
    units.keep({"c"})
    assert list(units) == ["third.service"]
    units.keep(())
    assert list(units) == []
    units.unwatch(told.append)
    units.put("a", "both.service")
    assert told == [
        *("both.service", "both.service", "both.service", "both.service"),
        *("other.service", "third.service", "other.service", "third.service"),
    ]


@pytest.mark.parametrize("machine_first", [True, False])
def test_the_machine_is_visible_and_has_the_metadata_of_its_unit(*, machine_first: bool) -> None:
    changes = [
        Seen(hidden_unit(enable=True, enabled_by=EnabledBy.EXPLICIT, name="wiki")),
        Seen(machine()),
    ]
    made = registry(*(reversed(changes) if machine_first else changes))
    assert made.visible.keys() == {WEB}
    assert (made.visible[WEB].metadata.enable, made.visible[WEB].metadata.name) == (True, "wiki")
    assert [one.key for one in made.of_unit(NSPAWN)] == [WEB]


def test_the_unit_of_a_machine_is_never_visible_itself() -> None:
    made = registry(
        Listing(backend="systemd", instances=[hidden_unit()]), Seen(machine()), gone(machine())
    )
    assert not made.visible
    assert made.of_unit(NSPAWN) == []
    assert made.backends["systemd"].instances == 0
    assert not made.contradiction()


def test_ports_that_the_unit_names_are_at_the_addresses_of_the_machine() -> None:
    (port,) = in_place_of(hidden_unit(port=8080), machine()).ports
    assert (port.host_port, port.container_port, port.source) == (0, 8080, PortSource.DECLARED)


def test_on_the_host_network_they_are_ports_of_the_host() -> None:
    near = in_place_of(hidden_unit(port=8080), machine(HOST_MACHINE))
    assert [port.host_port for port in near.ports] == [8080]


def test_a_port_that_it_listens_on_is_not_declared_again() -> None:
    listening = PortMapping(
        container_port=8080,
        protocol=Protocol.TCP,
        host_port=8080,
        host_ip="::",
        source=PortSource.LISTENING,
    )
    near = machine(HOST_MACHINE, ports=(listening,))
    assert in_place_of(hidden_unit(port=8080), near).ports == (listening,)
