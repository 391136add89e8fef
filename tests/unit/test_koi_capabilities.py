"""A Koi daemon with one capability: no other one is needed to use it."""

import asyncio

import pytest

from koi_agent.host.koi_daemon.kinds import KINDS
from tests.unit.koi_world import Event, World, run_with_agent


@pytest.mark.parametrize("kind", KINDS)
def test_all_other_capabilities_may_be_turned_off(kind: str) -> None:
    async def happening(world: World) -> None:
        world.server.daemon.disabled.update({*KINDS, "certmesh"} - {kind})
        world.start()
        await world.act(Event(0, "want", "x", 0))
        await asyncio.sleep(30)
        world.check()
        await world.act(Event(0, "withdraw", "x", 0))
        await asyncio.sleep(30)
        world.check()

    run_with_agent(kind, happening, starts=False)
