"""Backends are followed as configured; a change disturbs only the backends that it concerns."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import replace

import pytest

from koi_agent.config import Config, SystemdConfig
from koi_agent.core.contracts import Backend
from koi_agent.core.errors import BackendAbsent, BackendLost
from koi_agent.core.events import Change
from koi_agent.core.key import Key
from koi_agent.core.registry import Registry
from koi_agent.follow.followers import Followers
from tests.unit.scripted import Runtime
from tests.unit.things import Reader, unit
from tests.unit.virtual_time import in_virtual_time, now

BEFORE = Config(scope="system", backends=("systemd",))
NONE = replace(BEFORE, backends=())
OTHER_UNITS = replace(BEFORE, systemd=SystemdConfig(units=("b.service",)))


class Host:
    """A host with one scripted runtime, and its followers."""

    def __init__(self, config: Config) -> None:
        self.runtime = Runtime(unit("a.service"))
        self.registry = Registry({name: name for name in config.backends})
        self.reader = Reader()
        self.made: list[Config] = []
        self.followers = Followers(config, self.registry, self._apply, self._make)

    def _apply(self, change: Change) -> None:
        self.reader.read(self.registry.apply(change, int(now() * 1e6)))

    def _make(self, _name: str, config: Config) -> Backend:
        self.made.append(config)
        return self.runtime


@asynccontextmanager
async def host(config: Config) -> AsyncIterator[Host]:
    made = Host(config)
    task = asyncio.create_task(made.followers.run())  # noqa: TID251 - ended below
    await asyncio.sleep(0)
    await made.followers.settled()
    yield made
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task


@in_virtual_time
async def test_backend_turned_off_is_closed_and_forgotten() -> None:
    async with host(BEFORE) as it:
        await it.followers.change(NONE)
        assert [name for name, _ in it.runtime.requests] == ["open", "list", "close"]
        assert it.reader.known == {}
        assert it.registry.backends == {}
        assert await it.followers.resync("") == {}


@in_virtual_time
async def test_backend_turned_on_is_followed() -> None:
    async with host(NONE) as it:
        await it.followers.change(BEFORE)
        assert it.followers.late == ["systemd"]
        await it.followers.settled()
        assert set(it.reader.known) == {Key("systemd", "a.service")}


@in_virtual_time
async def test_unchanged_settings_do_not_disturb_a_backend() -> None:
    async with host(BEFORE) as it:
        await it.followers.change(replace(BEFORE, log_level=10))
        await asyncio.sleep(1)
        assert [name for name, _ in it.runtime.requests] == ["open", "list"]


@in_virtual_time
async def test_other_patterns_keep_the_units_that_still_match() -> None:
    async with host(BEFORE) as it:
        seen = dict(it.reader.known)
        await it.followers.change(OTHER_UNITS)
        await it.followers.settled()
        assert it.made == [BEFORE, OTHER_UNITS]
        assert it.reader.known == seen
        assert it.registry.backends["systemd"].reconnects == 0


@in_virtual_time
async def test_backend_turned_off_and_on_lists_again() -> None:
    async with host(BEFORE) as it:
        await it.followers.change(NONE)
        await it.followers.change(BEFORE)
        await it.followers.settled()
        assert set(it.reader.known) == {Key("systemd", "a.service")}


@in_virtual_time
async def test_absent_backend_fails_its_own_resync_and_not_that_of_all() -> None:
    async def missing() -> None:
        raise BackendAbsent("no socket")

    async with host(NONE) as it:
        it.runtime.plan["open"].extend([missing] * 3)
        await it.followers.change(BEFORE)
        await it.followers.settled()
        assert await it.followers.resync("") == {}
        with pytest.raises(BackendAbsent, match="systemd is absent: no socket"):
            await it.followers.resync("systemd")
        await asyncio.sleep(60)
        assert await it.followers.resync("systemd") == {"systemd": {}}
        assert await it.followers.resync("") == {"systemd": {}}


@in_virtual_time
async def test_lost_backend_fails_the_resync_of_all_after_the_others_have_listed() -> None:
    async def refused() -> None:
        raise BackendLost("refused")

    both = replace(BEFORE, backends=("docker", "systemd"))
    async with host(NONE) as it:
        it.runtime.plan["open"].append(refused)
        await it.followers.change(both)
        await asyncio.sleep(0.01)
        listed = len(it.runtime.times("list"))
        with pytest.raises(BackendLost, match=r"^\w+ is not connected$"):
            await it.followers.resync("")
        assert len(it.runtime.times("list")) == listed + 1
