"""The outlet for the hook follows systemd-resolved on the bus, and the socket of the hook."""

import asyncio
import socket
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from koi_agent.bus.interfaces import Method, interface
from koi_agent.capabilities.dns.hook.names import NO_NAMES
from koi_agent.capabilities.dns.hook.settings import NO_SOCKET, HookSettings
from koi_agent.capabilities.dns.providers import Hook
from koi_agent.core.errors import ProviderLost
from koi_agent.host.resolver import RESOLVED
from tests.bus.host_names import WIKI, feeding, resolved, running, written
from tests.bus.tables import playing
from tests.unit.dns_zones import DOMAINS, key
from tests.world.bus import PrivateBus

SYSTEMD = "org.freedesktop.systemd1"


@pytest.fixture
def hook(bus: PrivateBus, tmp_path: Path) -> Hook:
    """An outlet whose file is of an earlier run, and whose socket is there."""
    settings = HookSettings(
        address=bus.address,
        file=tmp_path / "hook.json",
        socket=tmp_path / "hook.sock",
        service=tmp_path,
        domains=DOMAINS,
        ttl=30,
    )
    settings.file.write_text("of an earlier run")
    listen(settings)
    return Hook(settings)


def listen(settings: HookSettings) -> None:
    """Make the socket; nothing connects to it here."""
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(settings.socket))


def content(hook: Hook) -> str:
    return hook.settings.file.read_text()


async def put(hook: Hook) -> None:
    """Write a name as an agent does, and wait for the end of the agent."""
    async with feeding(hook):
        await written(hook.settings.file)


async def test_names_are_withdrawn_at_the_end(hook: Hook) -> None:
    async with playing(hook.settings.address, RESOLVED, resolved()):
        await put(hook)
    assert content(hook) == NO_NAMES


async def test_an_agent_that_restarts_takes_no_name_away(hook: Hook, bus: PrivateBus) -> None:
    async with AsyncExitStack() as played:
        await played.enter_async_context(playing(hook.settings.address, RESOLVED, resolved()))
        await played.enter_async_context(restarting(bus))
        await put(hook)
    assert "wiki.internal" in content(hook)


@asynccontextmanager
async def restarting(bus: PrivateBus) -> AsyncIterator[None]:
    """Run a service manager, in a thread, that restarts the agent."""
    ready = asyncio.Event()
    loop = asyncio.get_running_loop()

    def jobs(_call: object) -> Sequence[Any]:
        return ([[1, "koi-runtime.service", "restart", "running", "/job", "/unit"]],)

    returns = (("jobs", "a(usssoo)"),)
    manager = interface(f"{SYSTEMD}.Manager", Method(name="ListJobs", handle=jobs, returns=returns))

    async def serve(stopped: asyncio.Event, stop: list[Any]) -> None:
        async with playing(bus.address, SYSTEMD, {"/org/freedesktop/systemd1": manager}):
            stop.append((asyncio.get_running_loop(), stopped))
            loop.call_soon_threadsafe(ready.set)
            await stopped.wait()

    stop: list[Any] = []
    async with asyncio.TaskGroup() as group:
        group.create_task(asyncio.to_thread(lambda: asyncio.run(serve(asyncio.Event(), stop))))
        await ready.wait()
        try:
            yield
        finally:
            ((other, stopped),) = stop
            other.call_soon_threadsafe(stopped.set)


async def test_a_systemd_resolved_that_goes_takes_no_name_away(hook: Hook) -> None:
    async with AsyncExitStack() as played:
        await played.enter_async_context(playing(hook.settings.address, RESOLVED, resolved()))
        with pytest.raises(ProviderLost, match="left the bus"):
            await until_lost(hook, played.aclose)
    assert "wiki.internal" in content(hook)


async def test_a_socket_that_goes_is_named_and_takes_no_name_away(hook: Hook) -> None:
    async def remove() -> None:
        hook.settings.socket.unlink()

    async with playing(hook.settings.address, RESOLVED, resolved()):
        with pytest.raises(ProviderLost, match="systemctl enable --now"):
            await until_lost(hook, remove)
    assert "wiki.internal" in content(hook)
    assert hook.absence == NO_SOCKET


async def until_lost(hook: Hook, lose: Any) -> None:
    """Run a session, lose what it follows, and wait for its end."""
    async with running(hook) as session:
        await session.put(key("a"), [WIKI])
        await written(hook.settings.file)
        await lose()
        await asyncio.sleep(60)


async def test_a_session_begins_when_the_socket_is_there(hook: Hook) -> None:
    hook.settings.socket.unlink()
    async with playing(hook.settings.address, RESOLVED, resolved()):
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.5):
                await put(hook)
        assert content(hook) == NO_NAMES  # those of an earlier run went with the agent
        async with asyncio.TaskGroup() as group:
            group.create_task(put(hook))
            await asyncio.sleep(0.2)
            listen(hook.settings)


async def test_an_obstacle_is_named_and_ends_no_session(hook: Hook) -> None:
    never = Hook(replace(hook.settings, obstacle="systemd-resolved is too old"))
    assert never.absence == "systemd-resolved is too old"
    assert not never.is_always_open
    assert hook.is_always_open
    assert hook.absence == "systemd-resolved does not run"
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.1), never.session(lambda *_: None):
            raise AssertionError("there is a session")
    await never.withdraw()
    assert content(hook) == "of an earlier run"  # it may be that of another agent
