"""Events on their way to clients, at once or through the queue."""

import asyncio
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace

from koi_agent.bus.client import connected
from koi_agent.bus.signals import Changed, Signal, Subscription
from koi_agent.core.dbus_names import MANAGER, NAME, ROOT
from koi_agent.core.events import Gone
from tests.bus.clients import SHOP, Told, agent
from tests.world.bus import PrivateBus

MANY = 200
LIVES = 4


def lives(told: Told, number: int) -> None:
    """Have an instance start and stop."""
    one = replace(SHOP, id=f"n{number}")
    told.see(one)
    told.tell(Gone(backend=one.backend, id=one.id, reason="done"))


async def test_events_keep_their_order_through_a_bus_that_stalls(bus: PrivateBus) -> None:
    seen: defaultdict[str, list[str]] = defaultdict(list)
    complete = asyncio.Event()

    def deliver(items: Sequence[Signal | Changed]) -> None:
        for item in items:
            if isinstance(item, Signal):
                seen[item.body[0]].append(item.member)
        if len(seen) == MANY and all(len(words) == 2 * LIVES for words in seen.values()):
            complete.set()

    members = ("InstanceStarted", "InstanceStopped")
    wanted = Subscription(
        sender=NAME,
        rules=(f"type='signal',sender='{NAME}',path='{ROOT}',interface='{MANAGER}'",),
        members=frozenset((MANAGER, member) for member in members),
        deliver=deliver,
    )
    async with agent(bus) as told, connected(bus.address) as client, client.subscribed(wanted):
        bus.stop()
        asyncio.get_running_loop().call_later(0.3, bus.cont)
        for _ in range(LIVES):
            for number in range(MANY):
                lives(told, number)
                await asyncio.sleep(0)
        async with asyncio.timeout(10):
            await complete.wait()
    assert {tuple(words) for words in seen.values()} == {members * LIVES}


async def test_event_for_a_bus_that_is_gone_harms_nobody(bus: PrivateBus) -> None:
    async with agent(bus, SHOP) as told:
        bus.kill()
        await asyncio.sleep(0.05)
        told.see(SHOP, state_detail="one event, and no other finds the loss")
        await asyncio.sleep(0.01)
        assert not told.publisher.named.is_set()
        bus.start()
        async with asyncio.timeout(5):
            await told.publisher.named.wait()
