"""A systemd-machined that is absent, restarts, exits, hangs, or lies while it is followed."""

import asyncio
from collections.abc import AsyncIterator, Callable

import pytest

from koi_agent.core.errors import BackendLost
from koi_agent.core.events import BackendState
from tests.bus.fake_machined import FakeMachined, Refused, Reply, Silent
from tests.bus.followed_machines import FollowedMachines, eventually, followed
from tests.world.bus import PrivateBus

STATS = ("org.freedesktop.DBus", "/org/freedesktop/DBus", "org.freedesktop.DBus.Debug.Stats")
V4 = b"\x0a\x00\x00\x02"


@pytest.fixture
async def machines(bus: PrivateBus) -> AsyncIterator[FollowedMachines]:
    """A fake without a machine, which is listed."""
    async with FakeMachined(bus.address) as fake, followed(fake, bus.address) as machines:
        yield machines


def state(machines: FollowedMachines, wanted: BackendState) -> Callable[[], bool]:
    return lambda: machines.status.state is wanted


async def test_an_absent_systemd_machined_is_followed_when_it_comes(bus: PrivateBus) -> None:
    fake = FakeMachined(bus.address)
    async with followed(fake, bus.address) as machines:
        assert machines.status.state is BackendState.ABSENT
        assert "the first machine starts it" in machines.status.last_error
        async with fake:
            fake.add("web")
            await eventually(lambda: machines.names == {"web"}, lambda: machines.status)
        assert not fake.was_started_by_calls


async def most_rules(machines: FollowedMachines) -> int:
    """Return how many match rules the backend had at one time."""
    link = await machines.bus.connection()
    (stats,) = await link.call(STATS, "GetConnectionStats", "s", (link.name,))
    return int(stats["PeakMatchRules"])


async def test_until_systemd_machined_comes_only_its_name_is_watched(bus: PrivateBus) -> None:
    fake = FakeMachined(bus.address)
    async with followed(fake, bus.address) as machines:
        assert await most_rules(machines) <= 1
        async with fake:
            fake.add("web")
            await eventually(lambda: machines.names == {"web"}, lambda: machines.status)
            assert await most_rules(machines) > 1


async def test_the_backend_of_systemd_gets_the_units_of_machines(bus: PrivateBus) -> None:
    async with FakeMachined(bus.address) as fake:
        fake.add("web", unit="web.scope")
        fake.add("shared", unit="user@1000.service")
        async with followed(fake, bus.address) as machines:
            assert list(machines.units) == ["web.scope"]
            fake.add("db", unit="db.service")
            await eventually(lambda: "db" in machines.names, machines.disagreement)
            assert list(machines.units) == ["web.scope", "db.service"]


async def test_one_that_exits_without_a_machine_is_not_lost(machines: FollowedMachines) -> None:
    machines.fake.add("web")
    await eventually(lambda: "web" in machines.names, machines.disagreement)
    machines.fake.remove("web")
    await eventually(lambda: not machines.names, machines.disagreement)
    await machines.fake.stop()
    await machines.follower.resync()
    assert machines.status.state is BackendState.SYNCED
    await machines.fake.start()
    machines.fake.add("db")
    await eventually(lambda: machines.names == {"db"}, lambda: machines.status)
    assert machines.status.reconnects == 0


async def test_a_restart_loses_no_machine(machines: FollowedMachines) -> None:
    for name in ("web", "db", "old"):
        machines.fake.add(name)
    await eventually(lambda: len(machines.names) == 3, machines.disagreement)
    await machines.fake.stop()
    machines.fake.remove("old")
    machines.fake.add("new")
    await machines.fake.start()
    await eventually(lambda: machines.names == {"web", "db", "new"}, machines.disagreement)
    assert machines.status.drift == 0
    assert [one for one in machines.brief if "web" in one] == ["+web"]


async def test_another_machine_of_the_same_name_is_a_stop_and_a_start(
    machines: FollowedMachines,
) -> None:
    machines.fake.add("web")
    await eventually(lambda: "web" in machines.names, machines.disagreement)
    await machines.fake.stop()
    machines.fake.add("web")
    await machines.fake.start()
    await machines.settle()
    assert [one for one in machines.brief if "web" in one][:3] == ["+web", "-web", "+web"]


async def test_a_bus_that_is_killed_is_connected_to_again(
    machines: FollowedMachines, bus: PrivateBus
) -> None:
    machines.fake.add("web")
    await eventually(lambda: "web" in machines.names, machines.disagreement)
    bus.kill()
    await eventually(state(machines, BackendState.STALE), lambda: machines.status)
    assert machines.known("web").stale
    await machines.fake.stop()
    bus.start()
    await machines.fake.start()
    machines.fake.add("db")
    await eventually(
        lambda: machines.names == {"web", "db"} and not machines.known("web").stale,
        lambda: machines.status,
    )


async def test_a_list_that_fails_is_repeated(bus: PrivateBus) -> None:
    def fail(_reply: Reply) -> Reply:
        raise Refused("org.freedesktop.DBus.Error.NoMemory")

    async with FakeMachined(bus.address) as fake:
        fake.add("web", addresses=[V4])
        fake.faults["ListMachines"].extend([fail, lambda _reply: ("s", ["no list"])])
        async with followed(fake, bus.address, settled=False) as machines:
            await eventually(state(machines, BackendState.FAILED), lambda: machines.status)
            await eventually(lambda: machines.names == {"web"}, lambda: machines.status)


async def test_a_machine_that_changes_within_the_first_list_is_known(bus: PrivateBus) -> None:
    def fail(_reply: Reply) -> Reply:
        raise Refused("org.freedesktop.DBus.Error.Failed")

    async with FakeMachined(bus.address) as fake:
        fake.add("web", addresses=[V4])

        def change(reply: Reply) -> Reply:
            fake.change("web")
            fake.faults["GetAll"].append(fail)
            return reply

        fake.faults["GetAddresses"].append(change)
        async with followed(fake, bus.address) as machines:
            assert machines.names == {"web"}


async def test_a_machine_that_was_replaced_without_a_signal_gets_its_addresses(
    machines: FollowedMachines,
) -> None:
    machines.fake.add("web", addresses=[V4])
    await eventually(lambda: machines.fake.asked.count("GetAddresses") == 2, "they have settled")
    machines.fake.lost_signals = 2
    machines.fake.remove("web")
    machines.fake.add("web", addresses=[b"\x0a\x00\x00\x03"])
    await machines.follower.resync()
    await eventually(lambda: not machines.disagreement(), machines.disagreement)


async def test_addresses_that_were_not_known_before_a_loss_are_read_after_it(
    machines: FollowedMachines,
) -> None:
    def fail(_reply: Reply) -> Reply:
        raise Refused("org.freedesktop.DBus.Error.Failed")

    machines.fake.add("web")
    await eventually(lambda: "web" in machines.names, machines.disagreement)
    await machines.fake.stop()
    await eventually(state(machines, BackendState.STALE), lambda: machines.status)
    machines.fake.machines["web"].addresses = [V4]
    machines.fake.faults["GetAddresses"].append(fail)
    await machines.fake.start()
    await eventually(lambda: not machines.disagreement(), machines.disagreement)


async def test_a_list_ends_with_its_session(machines: FollowedMachines) -> None:
    machines.fake.add("web", addresses=[V4])
    await eventually(lambda: "web" in machines.names, machines.disagreement)
    await machines.fake.stop()
    async with asyncio.TaskGroup() as group:
        listing = group.create_task(fails(machines))
        await eventually(state(machines, BackendState.STALE), lambda: machines.status)
        await eventually(listing.done, "the list has ended")
    await machines.fake.start()


async def fails(machines: FollowedMachines) -> None:
    with pytest.raises(BackendLost, match="left the bus during a list"):
        await machines.follower.resync()


async def test_addresses_that_do_not_come_do_not_delay_machines(
    machines: FollowedMachines,
) -> None:
    def swallow(_reply: Reply) -> Reply:
        raise Silent

    machines.fake.faults["GetAddresses"].append(swallow)
    machines.fake.add("slow")
    await eventually(lambda: "slow" in machines.names, machines.disagreement)
    await eventually(lambda: "GetAddresses" in machines.fake.asked, "addresses are asked for")
    machines.fake.add("db")
    await eventually(lambda: "db" in machines.names, machines.disagreement)


async def test_a_storm_ends_at_the_truth(machines: FollowedMachines) -> None:
    for number in range(200):
        machines.fake.add(f"m{number % 20}")
        if number % 3 == 0:
            machines.fake.remove(f"m{number % 20}")
        if number % 10 == 0:
            await asyncio.sleep(0)
    await eventually(lambda: not machines.disagreement(), machines.disagreement)
    assert machines.status.drift == 0


async def test_without_a_machine_nothing_is_asked(machines: FollowedMachines) -> None:
    machines.fake.add("web", addresses=[V4])
    await eventually(lambda: "web" in machines.names, machines.disagreement)
    machines.fake.remove("web")
    await eventually(lambda: not machines.names, machines.disagreement)
    asked = len(machines.fake.asked)
    await asyncio.sleep(0.5)
    assert len(machines.fake.asked) == asked
