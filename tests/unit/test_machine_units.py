"""A machine and its unit are one instance: the systemd backend reads the unit for the machine."""

import asyncio
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
from koi_agent.host.machine_units import READ_PATIENCE, SPARE, MachineUnits
from tests.unit.things import gone, unit
from tests.unit.unit_table_harness import Harness, changed, row
from tests.unit.virtual_time import now, run

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
MANY = {f"m{number}": f"m{number}.scope" for number in range(MOST_PATTERNS)}


async def put(harness: Harness, **units: str) -> None:
    """Store units of machines while the harness answers."""
    async with asyncio.TaskGroup() as group:
        putting = group.create_task(harness.machine_units.put(units, units.keys()))
        while not putting.done():
            await asyncio.sleep(0)
            harness.table.deadlines_passed()
            await harness.answer()


@pytest.mark.parametrize("name", NAMES)
async def test_a_unit_of_a_machine_is_followed_and_not_shown(name: str) -> None:
    harness = Harness()
    assert not harness.table.filter.matches(name)
    await put(harness, web=name)
    harness.receive(*changed("active/running", name=name))
    await harness.answer()
    assert harness.last[name].traits == MACHINE_UNIT


async def test_a_unit_that_ran_before_its_machine_was_known_is_read_first() -> None:
    harness = Harness()
    harness.systemd.rows = [row("web.scope"), row("other.scope")]
    await put(harness, web="web.scope")
    assert harness.last["web.scope"].traits == MACHINE_UNIT
    assert harness.last.keys() == {"web.scope"}


async def test_a_unit_that_signals_before_it_is_checked_is_read() -> None:
    harness = Harness()
    harness.systemd.rows = [row("web.scope")]
    async with asyncio.TaskGroup() as group:
        putting = group.create_task(harness.machine_units.put({"web": "web.scope"}, {"web"}))
        await asyncio.sleep(0)
        harness.receive(*changed("active/running", name="web.scope", run=b"a"))
        for _ in range(20):
            await asyncio.sleep(0)
            await harness.answer()
        assert putting.done(), "it has not waited until its patience ended"
    assert harness.last.keys() == {"web.scope"}


async def test_many_units_are_read_together_and_alone() -> None:
    harness = Harness()
    units = {**MANY, "last": "last.scope"}
    harness.systemd.rows = [row(unit) for unit in (*units.values(), "other.scope")]
    await put(harness, **units)
    assert harness.last.keys() == set(units.values())
    assert harness.systemd.calls.count("ListUnitsByPatterns") == 1


async def test_a_unit_ends_when_it_is_no_longer_that_of_a_machine() -> None:
    harness = Harness()
    harness.systemd.rows = [row("web.scope")]
    await put(harness, web="web.scope")
    await put(harness, web="second.scope")
    assert harness.last == {}
    assert not harness.table.filter.matches("web.scope")


async def test_a_unit_that_the_settings_select_outlives_its_machine() -> None:
    harness = Harness()
    harness.receive(*changed("active/running", name="web.service"))
    await harness.answer()
    await put(harness, web="web.service")
    await put(harness, web="second.scope")
    assert harness.last["web.service"].traits == UNIT


def test_a_unit_that_the_settings_name_is_shown() -> None:
    config = SystemdConfig(units=("*.service",), exclude_units=())
    assert Selection(config, MachineUnits()).is_shown(NSPAWN)
    assert not Selection(SystemdConfig(), MachineUnits()).is_shown(NSPAWN)


async def test_a_list_is_asked_for_the_units_of_machines_or_for_all() -> None:
    units = MachineUnits()
    selection = Selection(SystemdConfig(units=("*.service",)), units)
    some = {"selected": "selected.service", "web": r"web\x2d1.scope"}
    await units.put(some, some.keys())
    assert selection.patterns() == ["*.service", r"web\x2d1.scope"]
    await units.put(MANY, MANY.keys())
    assert selection.patterns() == ["*"]


async def test_units_of_machines_that_have_ended_are_removed_in_the_end() -> None:
    units = MachineUnits()
    for number in range(100):
        await units.put({f"m{number}": f"m{number}.scope"}, {f"m{number}"})
        assert f"m{number}.scope" in units
    assert len(list(units)) <= 2 + SPARE


async def test_the_backend_of_systemd_gets_each_change_and_is_waited_for() -> None:
    units, changes = MachineUnits(), list[str]()
    units.watch(changes.append)
    async with asyncio.TaskGroup() as group:
        putting = group.create_task(units.put({"a": "both.scope", "b": "both.scope"}, set()))
        await asyncio.sleep(0.01)
        assert not putting.done()
        units.read(["both.scope"])
    assert changes == ["both.scope", "both.scope"]
    async with asyncio.TaskGroup() as group:
        putting = group.create_task(units.put({"a": "a.scope", "b": "b.scope"}, set()))
        await asyncio.sleep(0.01)
        assert not putting.done()
        assert sorted(changes[2:]) == ["a.scope", "b.scope", "both.scope", "both.scope"]
        assert sorted(units) == ["a.scope", "b.scope"]
        units.unwatch(changes.append)
    await units.put({"c": "c.scope"}, set())


async def time_until_put() -> float:
    units = MachineUnits()
    units.watch(lambda _unit: None)
    began = now()
    await units.put({"a": "a.scope"}, {"a"})
    return now() - began


def test_a_unit_that_is_never_read_delays_its_machine_for_a_bounded_time() -> None:
    assert run(time_until_put()) == pytest.approx(READ_PATIENCE)


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
