"""Leases of services at a Koi daemon: what the network sees while both sides come and go."""

import asyncio
from collections.abc import Sequence

from koi_agent.host.koi_daemon.kinds import LEASE
from tests.unit.koi_world import Event, World, run_with_agent

WEB = "x._http._tcp.local."


def event(act: str, number: int = 0) -> Event:
    return Event(0, act, "x", number)


def seen(world: World) -> Sequence[str]:
    """Return what the network has seen of the service, in order."""
    return [what for what, name in world.server.daemon.mdns.network if name == WEB]


def renewals(world: World) -> int:
    found = [one for one in world.server.daemon.requests if "/heartbeat/" in one.path]
    return len([one for one in found if not one.path.endswith("/none")])


def test_a_lease_is_renewed_at_a_third() -> None:
    async def happening(world: World) -> None:
        await world.act(event("want"))
        await asyncio.sleep(20 * LEASE)
        assert seen(world) == ["announced"]
        assert 60 <= renewals(world) <= 80

    run_with_agent("mdns", happening)


def test_a_killed_agent_that_is_soon_back_takes_nothing_from_the_network() -> None:
    async def happening(world: World) -> None:
        await world.act(event("want"))
        await asyncio.sleep(10)
        await world.kill()
        await asyncio.sleep(LEASE + 10)  # the lease is over, and the service drains
        assert world.held()["x"]
        (own,) = [one for one in world.server.daemon.mdns.held.values() if one.lease]
        assert own.draining
        world.start()
        await asyncio.sleep(10 * LEASE)
        assert seen(world) == ["announced"]
        assert own.id in world.server.daemon.mdns.held

    run_with_agent("mdns", happening)


def test_a_service_that_nothing_wants_after_a_kill_is_withdrawn() -> None:
    async def happening(world: World) -> None:
        await world.act(event("want"))
        await asyncio.sleep(10)
        await world.kill()
        world.wanted.clear()
        world.start()
        await asyncio.sleep(10)
        assert seen(world) == ["announced", "goodbye"]

    run_with_agent("mdns", happening)


def test_a_lease_that_the_daemon_lost_is_announced_again() -> None:
    async def happening(world: World) -> None:
        await world.act(event("want"))
        await asyncio.sleep(10)
        world.server.daemon.mdns.remove_all()
        await asyncio.sleep(LEASE)
        assert seen(world) == ["announced", "goodbye", "announced"]

    run_with_agent("mdns", happening)


def test_a_service_is_announced_again_when_another_of_its_name_ends() -> None:
    async def happening(world: World) -> None:
        await world.act(event("want"))
        await asyncio.sleep(10)
        await world.act(event("make"))
        await asyncio.sleep(3 * LEASE)
        await world.act(event("remove"))
        assert WEB not in world.server.daemon.mdns.air  # the end of one silences both
        await asyncio.sleep(3 * LEASE)
        world.check()
        assert WEB in world.server.daemon.mdns.air

    run_with_agent("mdns", happening)


def test_a_service_waits_for_the_end_of_another_of_its_name() -> None:
    async def happening(world: World) -> None:
        await world.act(event("make"))
        await world.act(event("want"))
        await asyncio.sleep(3 * LEASE)
        assert len(world.held()["x"]) == 1
        await world.act(event("remove"))
        await asyncio.sleep(3 * LEASE)
        world.check()
        assert WEB in world.server.daemon.mdns.air

    run_with_agent("mdns", happening)


def test_all_is_announced_again_after_a_restart_of_the_daemon() -> None:
    async def happening(world: World) -> None:
        await world.act(event("want"))
        await asyncio.sleep(10)
        await world.act(event("restart"))
        await asyncio.sleep(5)
        world.check()

    run_with_agent("mdns", happening)
