"""Machines of a fake systemd-machined, followed over a real bus."""

import os
import subprocess
from collections.abc import AsyncIterator, Iterator
from socket import AF_INET, inet_aton

import pytest

from koi_agent.config import MachinedConfig
from koi_agent.core.events import BackendState
from koi_agent.core.instance import Health, InstanceState
from koi_agent.core.traits import HOST_MACHINE, MACHINE
from koi_agent.host.namespace_addresses import addresses_of
from tests.bus.fake_machined import NO_NETWORK, FakeMachined, Fault, Refused, Reply
from tests.bus.followed_machines import FollowedMachines, eventually, followed
from tests.namespaces import wait_until
from tests.world.bus import PrivateBus

V4, V6 = b"\x0a\x00\x00\x02", bytes.fromhex("fd000000000000000000000000000002")
LINK_LOCAL = bytes.fromhex("fe800000000000000000000000000002")
DENIED = "org.freedesktop.DBus.Error.InteractiveAuthorizationRequired"


@pytest.fixture
async def fake(bus: PrivateBus) -> AsyncIterator[FakeMachined]:
    async with FakeMachined(bus.address) as fake:
        yield fake


@pytest.fixture
async def machines(fake: FakeMachined, bus: PrivateBus) -> AsyncIterator[FollowedMachines]:
    """A fake with one machine, which is listed."""
    fake.add("web", addresses=[V4, LINK_LOCAL])
    async with followed(fake, bus.address) as machines:
        yield machines


@pytest.fixture
def separate() -> Iterator[int]:
    """The PID of a process in a network namespace of its own, with an address."""
    script = "ip addr add 192.0.2.9/32 dev lo && exec sleep 600"
    with subprocess.Popen(["unshare", "--net", "sh", "-c", script]) as process:
        try:
            wait_until(
                lambda: (AF_INET, inet_aton("192.0.2.9")) in (addresses_of(process.pid) or ()),
                "it has the address",
            )
            yield process.pid
        finally:
            process.kill()


def other_type(_reply: Reply) -> Reply:
    return "as", [["10.0.0.2"]]


def other_bytes(_reply: Reply) -> Reply:
    return "a(iay)", [[[2, b"123"], [77, b"1234"]]]


def refuse(name: str) -> Fault:
    def fault(_reply: Reply) -> Reply:
        raise Refused(name)

    return fault


BAD_ADDRESSES: list[Fault] = [
    other_type,
    other_bytes,
    refuse("org.freedesktop.DBus.Error.Failed"),
]


async def test_a_listed_machine_is_published_with_its_properties(
    machines: FollowedMachines,
) -> None:
    web = machines.known("web")
    assert (web.id, web.name, web.state) == ("web", "web", InstanceState.RUNNING)
    assert (web.state_detail, web.health) == ("running", Health.HEALTHY)
    assert (web.main_pid, web.unit) == (5_000_001, "machine-web.scope")
    assert (web.image, web.ips) == ("/var/lib/machines/web", ("10.0.0.2",))
    assert (web.created_at, web.traits) == (10**15 + 1, MACHINE)
    assert machines.status.state is BackendState.SYNCED
    assert machines.names == {"web"}, "the host is left out"


async def test_machines_that_start_and_stop_are_events(machines: FollowedMachines) -> None:
    machines.fake.add("db")
    await eventually(lambda: "db" in machines.names, machines.disagreement)
    machines.fake.remove("web")
    await eventually(lambda: machines.names == {"db"}, machines.disagreement)
    assert machines.brief[:2] == ["+web", "+db"]
    assert machines.brief[-1] == "-web"


async def test_no_call_can_start_systemd_machined(machines: FollowedMachines) -> None:
    machines.fake.add("db")
    await eventually(lambda: "db" in machines.names, machines.disagreement)
    await machines.settle()
    assert {"ListMachines", "GetAll", "GetAddresses"} <= set(machines.fake.asked)
    assert not machines.fake.was_started_by_calls


async def test_addresses_are_asked_for_until_there_are_some(machines: FollowedMachines) -> None:
    late = machines.fake.add("late")
    await eventually(lambda: machines.fake.asked.count("GetAddresses") > 3, "it is asked again")
    late.addresses = [V6]
    await eventually(lambda: machines.known("late").ips == ("fd00::2",), machines.disagreement)


async def test_a_change_of_addresses_is_found_by_a_list(machines: FollowedMachines) -> None:
    machines.fake.machines["web"].addresses = [V4, V6]
    await machines.follower.resync()
    assert machines.known("web").ips == ("10.0.0.2", "fd00::2")
    assert machines.status.drift == 0


async def test_properties_that_change_are_read(machines: FollowedMachines) -> None:
    web = machines.fake.machines["web"]
    web.state = "closing"
    machines.fake.change("web")
    await eventually(lambda: machines.known("web").ending, machines.disagreement)
    assert machines.known("web").health is Health.NONE


async def test_a_machine_that_opens_is_read_until_it_runs(machines: FollowedMachines) -> None:
    new = machines.fake.add("new", state="opening")
    await eventually(lambda: "new" in machines.names, machines.disagreement)
    assert machines.known("new").health is Health.STARTING
    new.state = "running"
    await eventually(lambda: machines.known("new").health is Health.HEALTHY, machines.disagreement)


async def test_a_machine_on_the_host_network_has_no_addresses(machines: FollowedMachines) -> None:
    machines.fake.add("near", addresses=NO_NETWORK)
    await eventually(
        lambda: "near" in machines.names and machines.known("near").traits == HOST_MACHINE,
        machines.disagreement,
    )
    assert machines.known("near").problems == ()


async def test_addresses_that_polkit_forbids_are_a_problem(machines: FollowedMachines) -> None:
    machines.fake.add("closed", addresses=DENIED)
    await eventually(
        lambda: "closed" in machines.names and machines.known("closed").problems,
        machines.disagreement,
    )
    (problem,) = machines.known("closed").problems
    assert "org.freedesktop.machine1.inspect-machines" in problem


async def test_addresses_that_are_refused_are_read_from_proc_if_it_shows_them(
    machines: FollowedMachines, separate: int
) -> None:
    machines.fake.add("mine", addresses=DENIED).leader = separate
    await eventually(
        lambda: "mine" in machines.names and machines.known("mine").ips == ("192.0.2.9",),
        lambda: str(machines.registry.visible),
    )
    assert machines.known("mine").problems == ()


async def test_a_machine_has_no_address_of_this_host_if_its_own_are_refused(
    machines: FollowedMachines,
) -> None:
    machines.fake.add("near", addresses=DENIED).leader = os.getpid()
    await eventually(
        lambda: "near" in machines.names and machines.known("near").traits == HOST_MACHINE,
        machines.disagreement,
    )
    assert machines.known("near").ips == ()


@pytest.mark.parametrize(
    "row",
    [
        ["", "container", "s", "/org/freedesktop/machine1/machine/_"],
        ["a\nb", "container", "s", "/org/freedesktop/machine1/machine/a"],
        ["x" * 300, "vm", "s", "/org/freedesktop/machine1/machine/x"],
        ["\u202eevil", "vm", "s", "/org/freedesktop/machine1/machine/e"],
    ],
)
async def test_a_hostile_name_costs_its_own_record(
    machines: FollowedMachines, row: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    machines.fake.extra_rows = [row]
    machines.fake.emit("MachineNew", row[0], row[3])
    await machines.settle()
    assert machines.names == {"web"}
    assert "can't be its name" in caplog.text or "without a name" in caplog.text
    assert "\n" not in caplog.messages[-1]


async def test_properties_of_other_types_cost_their_machine(
    machines: FollowedMachines, caplog: pytest.LogCaptureFixture
) -> None:
    def garble(reply: Reply) -> Reply:
        properties = reply[1][0]
        properties["Leader"] = properties["Name"]
        return reply

    machines.fake.faults["GetAll"].append(garble)
    machines.fake.add("odd")
    await eventually(lambda: "expected int, got str" in caplog.text, "the reason is logged")
    machines.fake.add("even")
    await eventually(lambda: "even" in machines.names, machines.disagreement)
    assert "odd" not in machines.names
    await machines.settle()
    assert "odd" in machines.names, "the next list finds it"


@pytest.mark.parametrize(
    "fault",
    BAD_ADDRESSES,
    ids=["other type", "other bytes", "error"],
)
async def test_bad_addresses_are_asked_for_again(machines: FollowedMachines, fault: Fault) -> None:
    machines.fake.faults["GetAddresses"].extend([fault] * 2)
    machines.fake.add("db", addresses=[V6])
    await eventually(
        lambda: "db" in machines.names and machines.known("db").ips, machines.disagreement
    )
    assert machines.known("web").ips == ("10.0.0.2",)


async def test_a_failed_question_does_not_take_addresses_away(machines: FollowedMachines) -> None:
    machines.fake.faults["GetAddresses"].append(refuse("org.freedesktop.DBus.Error.Failed"))
    await machines.follower.resync()
    assert machines.known("web").ips == ("10.0.0.2",)


async def test_a_machine_that_goes_between_signal_and_answer_is_not_published(
    machines: FollowedMachines,
) -> None:
    machines.fake.lost_signals = 2
    machines.fake.add("ghost")
    machines.fake.remove("ghost")
    machines.fake.emit("MachineNew", "ghost", "/org/freedesktop/machine1/machine/ghost")
    machines.fake.add("db")
    await eventually(lambda: "db" in machines.names, machines.disagreement)
    await machines.settle()
    assert "+ghost" not in machines.brief


async def test_excluded_machines_are_left_out(fake: FakeMachined, bus: PrivateBus) -> None:
    fake.add("build-1")
    fake.add("web")
    config = MachinedConfig(exclude_machines=("build-*",))
    async with followed(fake, bus.address, config) as machines:
        fake.add("build-2")
        fake.add("db")
        await eventually(lambda: machines.names == {"web", "db"}, lambda: machines.names)
        assert not any("build" in one for one in machines.brief)
