"""Whatever happens to machines, signals and answers: after a list, what runs is published."""

import asyncio
from collections.abc import Callable

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from tests.bus.fake_machined import NO_NETWORK, FakeMachined, Fault, Refused, Reply
from tests.bus.followed_machines import FollowedMachines, eventually, followed
from tests.world.bus import PrivateBus

Step = Callable[[FollowedMachines, int], None]


def name_of(number: int) -> str:
    return f"m{number % 7}"


def add(machines: FollowedMachines, number: int) -> None:
    address = bytes([10, 0, 0, number + 1])
    addresses = {0: [], 1: NO_NETWORK}.get(number % 4, [address])
    machines.fake.add(name_of(number), addresses=addresses)


def add_again(machines: FollowedMachines, number: int) -> None:
    """Replace a machine, as by a restart: its end is signalled, too."""
    machines.fake.remove(name_of(number))
    add(machines, number)


def move(machines: FollowedMachines, number: int) -> None:
    """Change the addresses of a machine, which no signal reports."""
    if machine := machines.fake.machines.get(name_of(number)):
        machine.addresses = [bytes([10, 1, 1, number + 1])]


def change_state(machines: FollowedMachines, number: int) -> None:
    if machine := machines.fake.machines.get(name_of(number)):
        machine.state = ("opening", "running", "closing", "novel")[number % 4]
        if number % 2:
            machines.fake.change(machine.name)


def lie(machines: FollowedMachines, number: int) -> None:
    """Send a signal that is not true."""
    member = "MachineNew" if number % 2 else "MachineRemoved"
    name = name_of(number)
    if member == "MachineNew" or name not in machines.fake.machines:
        machines.fake.emit(member, name, f"/org/freedesktop/machine1/machine/{name}")


def lose_signals(machines: FollowedMachines, number: int) -> None:
    machines.fake.lost_signals = number % 3


def hold(machines: FollowedMachines, number: int) -> None:
    machines.fake.holds = number % 2 == 0
    if not machines.fake.holds:
        machines.fake.release()


def release_and(step: Step) -> Step:
    """Answer what waits, and change something before the answers are read."""

    def both(machines: FollowedMachines, number: int) -> None:
        machines.fake.release()
        step(machines, number)

    return both


def remove(machines: FollowedMachines, number: int) -> None:
    machines.fake.remove(name_of(number))


def faulty(member: str, fault: Fault) -> Step:
    def step(machines: FollowedMachines, _number: int) -> None:
        machines.fake.faults[member].append(fault)

    return step


def fail(_reply: Reply) -> Reply:
    raise Refused("org.freedesktop.DBus.Error.Failed")


def vanish(_reply: Reply) -> Reply:
    raise Refused("org.freedesktop.machine1.NoSuchMachine")


def garble(reply: Reply) -> Reply:
    properties = reply[1][0]
    for key in list(properties)[::2]:
        properties[key] = properties["NetworkInterfaces"]
    return reply


STEPS: dict[str, Step] = {
    "add": add,
    "add again": add_again,
    "remove": remove,
    "hold": hold,
    "release and remove": release_and(remove),
    "release and add": release_and(add_again),
    "move": move,
    "change state": change_state,
    "lie": lie,
    "lose signals": lose_signals,
    "no list": faulty("ListMachines", fail),
    "other list": faulty("ListMachines", lambda _reply: ("as", [["web"]])),
    "no properties": faulty("GetAll", fail),
    "gone": faulty("GetAll", vanish),
    "garbled": faulty("GetAll", garble),
    "other properties": faulty("GetAll", lambda _reply: ("s", ["none"])),
    "no addresses": faulty("GetAddresses", fail),
    "other addresses": faulty("GetAddresses", lambda _reply: ("a(iay)", [[[2, b"1"]]])),
}
RESTART = "restart"

# A machine is reported as gone while a list that has it is requested.
GONE_DURING_A_LIST = [("gone", 0, False), ("add", 4, False)]


@pytest.mark.timeout(240)
@settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(
    script=st.lists(
        st.tuples(st.sampled_from([*sorted(STEPS), RESTART]), st.integers(0, 50), st.booleans()),
        min_size=5,
        max_size=60,
    )
)
@example(script=GONE_DURING_A_LIST)
def test_what_runs_is_published_after_the_next_list(
    bus: PrivateBus, script: list[tuple[str, int, bool]]
) -> None:
    asyncio.run(run_script(bus.address, script))


async def run_script(address: str, script: list[tuple[str, int, bool]]) -> None:
    async with FakeMachined(address) as fake, followed(fake, address) as machines:
        for number in range(3):
            add(machines, number)
        for step, number, waits in script:
            if step == RESTART:
                await fake.stop()
                await fake.start()
            else:
                STEPS[step](machines, number)
            await asyncio.sleep(0.003 if waits else 0)
        fake.faults.clear()
        fake.lost_signals = 0
        fake.holds = False
        fake.release()
        await machines.settle()
        assert await machines.follower.resync() == {}, "a list finds what no event reported"
        assert not fake.was_started_by_calls


TRUTHFUL = ("add", "add again", "remove", "release and remove", "release and add", "hold")
LIST = "list"


@pytest.mark.timeout(240)
@settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(
    script=st.lists(
        st.tuples(st.sampled_from([*TRUTHFUL, LIST]), st.integers(0, 50), st.booleans()),
        min_size=5,
        max_size=60,
    )
)
@example(script=[("hold", 0, True), ("add", 3, True), ("release and remove", 3, True)])
def test_signals_alone_show_what_runs(bus: PrivateBus, script: list[tuple[str, int, bool]]) -> None:
    asyncio.run(run_truthful(bus.address, script))


async def run_truthful(address: str, script: list[tuple[str, int, bool]]) -> None:
    async with FakeMachined(address) as fake, followed(fake, address) as machines:
        async with asyncio.TaskGroup() as lists:
            for step, number, waits in script:
                if step == LIST:
                    lists.create_task(machines.follower.resync())
                else:
                    STEPS[step](machines, number)
                await asyncio.sleep(0.003 if waits else 0)
            fake.holds = False
            fake.release()
        fake.add("last")
        await eventually(lambda: "last" in machines.names, machines.disagreement)
        await eventually(lambda: not machines.disagreement(), machines.disagreement)
