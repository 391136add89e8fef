"""The rules of machines: names, properties, addresses, and the instance that one becomes."""

from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from koi_agent.backends.machined.machines import (
    UNKNOWN,
    Machine,
    Network,
    check_name,
    instance_of,
    ips_from,
    is_selected,
    machine_from,
    network_from,
)
from koi_agent.config import MachinedConfig
from koi_agent.core.errors import BadInput
from koi_agent.core.instance import (
    MAX_IPS,
    MORE_IPS,
    Health,
    InstanceState,
    PortMapping,
    PortSource,
    Protocol,
)
from koi_agent.core.traits import HOST_MACHINE, MACHINE

PATH = "/org/freedesktop/machine1/machine/web"
PROPERTIES = {
    "Class": "container",
    "State": "running",
    "Service": "systemd-nspawn",
    "Unit": "systemd-nspawn@web.service",
    "Leader": 4711,
    "RootDirectory": "/var/lib/machines/web",
    "Timestamp": 1796020680956071,
    "Id": b"\x00" * 16,
}
NETWORK = Network(ips=("10.0.0.2",))
LISTENING = PortMapping(
    container_port=80,
    protocol=Protocol.TCP,
    host_port=80,
    host_ip="::",
    source=PortSource.LISTENING,
)


def machine(**properties: Any) -> Machine:
    return machine_from("web", PATH, PROPERTIES | properties)


def test_a_machine_is_its_properties() -> None:
    web = instance_of(machine(), NETWORK)
    assert (web.key.backend, web.id, web.name) == ("machined", "web", "web")
    assert (web.unit, web.main_pid, web.created_at) == (
        "systemd-nspawn@web.service",
        4711,
        1796020680956071,
    )
    assert (web.image, web.ips, web.traits) == ("/var/lib/machines/web", ("10.0.0.2",), MACHINE)
    assert "it is a container of systemd-nspawn, registered with systemd-machined" in web.notes


@pytest.mark.parametrize(
    ("state", "health", "ending"),
    [
        ("opening", Health.STARTING, False),
        ("running", Health.HEALTHY, False),
        ("closing", Health.NONE, True),
        ("abandoned", Health.UNKNOWN, False),
        ("", Health.UNKNOWN, False),
    ],
)
def test_health_follows_the_state(state: str, health: Health, *, ending: bool) -> None:
    web = instance_of(machine(State=state), UNKNOWN)
    assert (web.state, web.state_detail) == (InstanceState.RUNNING, state)
    assert (web.health, web.ending) == (health, ending)


@pytest.mark.parametrize(
    "unit", ["user@1000.service", "session-3.scope", "init.scope", "machine.slice", ""]
)
def test_a_unit_that_others_share_is_not_the_machine(unit: str) -> None:
    shared = instance_of(machine(Unit=unit), UNKNOWN)
    assert shared.unit == ""
    assert any("does not count" in note for note in shared.notes)


def test_a_machine_in_a_part_of_its_unit_claims_the_unit() -> None:
    assert machine(Subgroup="payload").unit == "systemd-nspawn@web.service"


@pytest.mark.parametrize("name", sorted(PROPERTIES.keys() - {"Id"}))
@pytest.mark.parametrize("value", [[], {}, 2.5, True, None, b"x"], ids=repr)
def test_a_property_of_another_type_is_bad_input(name: str, value: object) -> None:
    with pytest.raises(BadInput, match=f"{name}: expected"):
        machine(**{name: value})


def test_properties_may_be_missing() -> None:
    bare = instance_of(machine_from("web", PATH, {}), UNKNOWN)
    assert (bare.unit, bare.main_pid, bare.health) == ("", 0, Health.UNKNOWN)


@pytest.mark.parametrize("name", ["", "a\x1b[31m", "a\nb", "x" * 256, "\u202e", "\ud800"])
def test_a_hostile_name_is_bad_input(name: str) -> None:
    with pytest.raises(BadInput):
        check_name(name)


def test_texts_are_printable() -> None:
    hostile = machine(RootDirectory="/\x1b[31m", Service="\u202e", State="a\nb")
    shown = instance_of(hostile, UNKNOWN)
    assert shown.image == "/\\x1b[31m"
    assert shown.state_detail == "a\\x0ab"
    assert all("\u202e" not in note for note in shown.notes)


def test_addresses_of_one_link_are_left_out() -> None:
    rows = [
        [10, bytes.fromhex("fe800000000000000000000000000001")],
        [2, bytes([169, 254, 1, 1])],
        [2, bytes([127, 0, 0, 1])],
        [10, bytes.fromhex("20010db8000000000000000000000001")],
        (2, bytes([192, 0, 2, 1])),
        [2, bytes([192, 0, 2, 1])],
    ]
    assert ips_from(rows) == ("192.0.2.1", "2001:db8::1")


def test_of_many_addresses_some_are_kept() -> None:
    rows = [[2, bytes([10, 0, high, low])] for high in range(9) for low in range(250)]
    network = network_from(rows)
    assert network.ips == ips_from(rows)[:MAX_IPS]
    assert MORE_IPS in instance_of(machine(), network).notes
    few = network_from(rows[:MAX_IPS])
    assert (len(few.ips), MORE_IPS in instance_of(machine(), few).notes) == (MAX_IPS, False)


@pytest.mark.parametrize(
    "rows", [[[2, b"123"]], [[3, b"1234"]], ["10.0.0.1"], [[2]], [[2, "text"]]], ids=repr
)
def test_addresses_that_are_none_are_bad_input(rows: list[object]) -> None:
    with pytest.raises(BadInput):
        ips_from(rows)


@given(
    st.recursive(
        st.none() | st.integers(-9, 300) | st.binary(max_size=17) | st.text(max_size=3),
        lambda inner: st.lists(inner, max_size=4),
        max_leaves=12,
    )
)
def test_any_answer_gives_addresses_or_bad_input(answer: object) -> None:
    with suppress(BadInput):
        assert all(isinstance(one, str) for one in ips_from(answer))


def test_a_machine_on_the_host_network_has_the_ports_of_the_host() -> None:
    near = instance_of(machine(), Network(is_host=True), (LISTENING,))
    assert (near.ports, near.traits) == ((LISTENING,), HOST_MACHINE)
    assert instance_of(machine(), NETWORK, (LISTENING,)).ports == ()


def test_only_what_an_administrator_can_repair_is_a_problem() -> None:
    denied = Network(problem="polkit does not permit it", is_denied=True)
    assert instance_of(machine(), denied).problems == ("polkit does not permit it",)
    late = instance_of(machine(), Network(problem="no answer"))
    assert late.problems == ()
    assert "its addresses are not known: no answer" in late.notes


def test_settings_select_machines() -> None:
    config = MachinedConfig(machines=("web*", "db"), exclude_machines=("*-old",))
    chosen = [one for one in ("web", "web-old", "db", "other") if is_selected(one, config)]
    assert chosen == ["web", "db"]
