"""The controller: plans change with events, a restart, a lost backend, a reload."""

import asyncio
import socket
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path

import pytest

from koi_agent.announce.controller import Controller
from koi_agent.capabilities import CAPABILITIES
from koi_agent.config import Config
from koi_agent.config.settings import CapabilitiesConfig
from koi_agent.core.events import Change, Lost, Seen
from koi_agent.core.instance import EnabledBy, Instance, KoiMetadata, PortSource, Protocol
from koi_agent.core.instance import PortMapping as Port
from koi_agent.core.plan.linger import RestartGrace
from koi_agent.core.registry import Registry
from tests.unit.things import gone, listing, unit
from tests.unit.virtual_time import now, run

OFF = Config(scope="user", capabilities=CapabilitiesConfig(mdns="off"))
PORT = Port(
    container_port=80, host_port=80, protocol=Protocol.TCP, host_ip="", source=PortSource.LISTENING
)
WEB = replace(
    unit("web.service"),
    metadata=KoiMetadata(enable=True, enabled_by=EnabledBy.EXPLICIT),
    ports=(PORT,),
)


@pytest.fixture(autouse=True)
def no_bus(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Hide the system bus: virtual time does not wait for a real one."""
    monkeypatch.setenv("DBUS_SYSTEM_BUS_ADDRESS", f"unix:path={tmp_path}/bus")


@pytest.fixture(autouse=True)
def host_name(monkeypatch: pytest.MonkeyPatch) -> None:
    """Set the host's name: an instance that has the same name is not announced."""
    monkeypatch.setattr(socket, "gethostname", lambda: "box.example.org")


class Acting:
    """The flow as the agent joins it, with nobody who publishes."""

    def __init__(self) -> None:
        self.registry = Registry({"systemd": "systemd"})
        self.grace = RestartGrace(2.0, now)
        self.controller = Controller(CAPABILITIES, OFF, self.grace, self.apply)
        self.updates = 0

    def apply(self, change: Change) -> None:
        events = self.registry.apply(change, 1)
        self.updates += len(events)
        for sink in (self.grace, self.controller):
            sink.publish(events)

    def wanted(self, instance: Instance = WEB) -> list[str]:
        said = self.controller.decisions(instance.key)
        return [one.about for one in said if one.state == "wanted" and one.capability == "mdns"]

    def announcements(self, instance: Instance = WEB) -> set[tuple[str, str, str]]:
        shown = self.registry.visible[instance.key].announcements
        return {(one.name, one.state, one.reason) for one in shown}


def acting(todo: Callable[[Acting], Awaitable[None]]) -> None:
    async def whole() -> None:
        scene = Acting()
        scene.apply(listing("systemd", WEB))
        async with asyncio.TaskGroup() as group:
            task = group.create_task(scene.controller.run())
            await asyncio.sleep(1)
            await todo(scene)
            task.cancel()

    run(whole())


def test_what_becomes_of_wishes_is_said_on_the_instance() -> None:
    async def todo(scene: Acting) -> None:
        assert scene.announcements() == {
            ("web._http._tcp.local", "held", "turned off"),
            ("web.local", "held", "turned off"),
        }
        before = scene.updates
        await asyncio.sleep(1000)
        assert scene.updates == before

    acting(todo)


def test_a_restart_within_the_grace_changes_nothing() -> None:
    async def todo(scene: Acting) -> None:
        scene.apply(Seen(replace(WEB, ports=())))
        scene.apply(gone(WEB))
        await asyncio.sleep(1)
        assert scene.wanted() == ["port 80/tcp", "host name"]
        scene.apply(Seen(replace(WEB, ports=())))
        await asyncio.sleep(1.5)
        assert scene.wanted() == ["port 80/tcp", "host name"]
        scene.apply(Seen(WEB))
        await asyncio.sleep(5)
        assert scene.wanted() == ["port 80/tcp", "host name"]
        assert scene.announcements() == {
            ("web._http._tcp.local", "held", "turned off"),
            ("web.local", "held", "turned off"),
        }

    acting(todo)


def test_what_does_not_come_back_is_withdrawn() -> None:
    async def todo(scene: Acting) -> None:
        scene.apply(gone(WEB))
        await asyncio.sleep(1.9)
        assert scene.wanted()
        await asyncio.sleep(0.2)
        assert not scene.wanted()

    acting(todo)


def test_a_longer_grace_counts_for_what_has_left_already_and_ends_too() -> None:
    async def todo(scene: Acting) -> None:
        scene.apply(gone(WEB))
        await asyncio.sleep(1)
        scene.grace.seconds = 10.0
        await asyncio.sleep(8)
        assert scene.wanted()
        await asyncio.sleep(4)
        assert not scene.wanted()

    acting(todo)


def test_one_that_is_made_anew_has_the_names_at_once() -> None:
    async def todo(scene: Acting) -> None:
        scene.apply(gone(WEB))
        again = replace(WEB, id="another.service")
        scene.apply(Seen(again))
        await asyncio.sleep(0.2)
        assert not scene.wanted()
        assert scene.announcements(again) == {
            ("web._http._tcp.local", "held", "turned off"),
            ("web.local", "held", "turned off"),
        }

    acting(todo)


def test_a_port_that_closes_is_withdrawn() -> None:
    async def todo(scene: Acting) -> None:
        scene.apply(Seen(replace(WEB, ports=())))
        await asyncio.sleep(2.2)
        assert not scene.wanted()
        assert [status for _, status, _ in scene.announcements()] == ["held"]

    acting(todo)


def test_who_opts_out_is_withdrawn_at_once_and_says_nothing_any_more() -> None:
    async def todo(scene: Acting) -> None:
        scene.apply(Seen(replace(WEB, metadata=KoiMetadata(enable=False))))
        assert not scene.wanted()
        await asyncio.sleep(0.2)
        assert scene.announcements() == set()
        scene.apply(Seen(WEB))
        await asyncio.sleep(0.2)
        assert len(scene.announcements()) == 2

    acting(todo)


def test_a_backend_that_stays_away_is_believed_for_some_time() -> None:
    async def todo(scene: Acting) -> None:
        scene.apply(Lost(backend="systemd", reason="gone"))
        await asyncio.sleep(599)
        assert scene.wanted()
        await asyncio.sleep(2)
        assert not scene.wanted()
        assert ("host name", "held", "systemd has not answered for too long") in (
            scene.announcements()
        )
        scene.apply(listing("systemd", WEB))
        await asyncio.sleep(0.2)
        assert scene.wanted()

    acting(todo)


def test_a_reload_is_followed() -> None:
    async def todo(scene: Acting) -> None:
        partner = replace(WEB, metadata=replace(WEB.metadata, enabled_by=EnabledBy.PARTNER))
        scene.apply(Seen(partner))
        assert scene.wanted()
        off = replace(OFF, capabilities=replace(OFF.capabilities, partner_labels=False))
        scene.controller.change(off)
        assert not scene.wanted()
        await asyncio.sleep(0.2)
        assert scene.announcements() == set()

    acting(todo)
