"""Signals for events, sent at once or through the queue."""

import asyncio
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace

import pytest

from koi_agent.bus.client import connected
from koi_agent.bus.signals import Changed, Signal, Subscription
from koi_agent.bus.writer import Writer
from koi_agent.core.dbus_names import INSTANCES, MANAGER, NAME, ROOT
from koi_agent.core.events import Gone
from koi_agent.core.instance import InstanceState
from tests.bus.clients import SHOP, WEB, Agent, agent
from tests.http.serving import until
from tests.world.bus import PrivateBus

MANY = 200
LIVES = 4


def lives(running: Agent, number: int) -> None:
    """Start and stop an instance."""
    one = replace(SHOP, id=f"n{number}")
    running.update(one)
    running.apply(Gone(backend=one.backend, id=one.id, reason="done"))


async def test_events_keep_order_over_stalled_bus(bus: PrivateBus) -> None:
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
    async with agent(bus) as running, connected(bus.address) as client, client.subscribed(wanted):
        bus.stop()
        asyncio.get_running_loop().call_later(0.3, bus.cont)
        for _ in range(LIVES):
            for number in range(MANY):
                lives(running, number)
                await asyncio.sleep(0)
        async with asyncio.timeout(60):
            await complete.wait()
    assert {tuple(words) for words in seen.values()} == {members * LIVES}


async def test_signals_of_an_event_are_sent_together(
    bus: PrivateBus, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent: list[int] = []
    send = Writer._send

    def counted(writer: Writer) -> None:
        sent.append(len(writer._frames))
        send(writer)

    monkeypatch.setattr(Writer, "_send", counted)
    monkeypatch.setattr("koi_agent.bus.writer.SENT_LATELY", -1.0)  # no message is one of a flood
    async with agent(bus) as running:
        await asyncio.sleep(0)  # the change of the phase is sent
        sent.clear()
        running.update(SHOP)
        assert sent == [2]


async def test_event_for_lost_bus_is_dropped(bus: PrivateBus) -> None:
    async with agent(bus, SHOP) as running:
        bus.kill()
        await asyncio.sleep(0.05)
        running.update(SHOP, state_detail="one event, and no other finds the loss")
        await asyncio.sleep(0.01)
        assert not running.publisher.named.is_set()
        bus.start()
        async with asyncio.timeout(60):
            await running.publisher.named.wait()


async def test_name_is_owned_again_after_a_lost_bus_without_an_event(bus: PrivateBus) -> None:
    async with agent(bus, SHOP) as running, asyncio.timeout(60):
        bus.kill()
        while running.publisher.named.is_set():  # noqa: ASYNC110 - cleared, never set for it
            await asyncio.sleep(0.01)
        bus.start()
        await running.publisher.named.wait()


async def test_phase_can_change_while_the_bus_is_lost(bus: PrivateBus) -> None:
    async with agent(bus, SHOP) as running:
        bus.kill()
        await until(lambda: not running.publisher.named.is_set())
        for phase in ("reloading", "", "stopping"):
            running.publisher.enter(phase)
            await asyncio.sleep(0)
        bus.start()
        await running.publisher.named.wait()
        async with connected(bus.address) as link:
            assert await link.get(NAME, ROOT, MANAGER, "State") == "stopping"


async def test_kept_list_follows_every_change(bus: PrivateBus) -> None:
    async with agent(bus, WEB) as running, connected(bus.address) as link:

        async def states() -> dict[str, str]:
            (rows,) = await link.call((NAME, ROOT, MANAGER), "ListInstances")
            return {row[0]: row[3] for row in rows}

        async def nodes() -> int:
            target = (NAME, INSTANCES, "org.freedesktop.DBus.Introspectable")
            (text,) = await link.call(target, "Introspect")
            assert isinstance(text, str)
            return text.count("<node name=")

        for _ in range(2):
            assert (await states(), await nodes()) == ({WEB.id: "running"}, 1)
        running.update(SHOP)
        assert (await states(), await nodes()) == ({WEB.id: "running", SHOP.id: "paused"}, 2)
        running.update(SHOP, state=InstanceState.RUNNING)
        assert (await states(), await nodes()) == ({WEB.id: "running", SHOP.id: "running"}, 2)
        running.remove(WEB, "stopped")
        assert (await states(), await nodes()) == ({SHOP.id: "running"}, 1)
        running.remove(SHOP, "stopped")
        assert (await states(), await nodes()) == ({}, 0)
