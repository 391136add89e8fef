"""A real Docker is followed: the published containers are always those of ``docker ps``."""

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from koi_agent.bus.client import CallError, connected
from koi_agent.core.dbus_names import NAME, ROOT
from tests import dockerd
from tests.conftest import require
from tests.dockerd import Dockerd
from tests.real.agents import Observer, agent, eventually, instance, observer, published
from tests.world import World

FILE = ".config/koi-runtime/koi-runtime.conf.d/10-test.conf"
SECOND = 1_000_000_000
ALWAYS = {"RestartPolicy": {"Name": "always"}}
CHECK = {"Test": ["CMD", "test", "-e", "/well"], "Interval": SECOND, "Retries": 1}


def configure(world: World, docker: Dockerd) -> Dockerd:
    file = world.home / FILE
    file.parent.mkdir(parents=True)
    file.write_text(f"[Runtime]\nBackends=docker\n[Docker]\nSocket={docker.socket}\n")
    return docker


@pytest.fixture
def docker(world: World, tmp_path: Path) -> Iterator[Dockerd]:
    """A Docker that the agents in the world follow."""
    if reason := dockerd.missing():
        require("docker", reason)
    with Dockerd(tmp_path) as started:
        yield configure(world, started)


@pytest.fixture
def lasting(world: World, tmp_path: Path) -> Iterator[Dockerd]:
    """A Docker whose containers outlive its daemon."""
    if reason := dockerd.missing():
        require("docker", reason)
    with Dockerd(tmp_path, "--live-restore") as started:
        yield configure(world, started)


async def post(docker: Dockerd, action: str, *ids: str) -> None:
    """Send an action to containers, some at a time."""
    await asyncio.to_thread(docker.engine.each, "POST", [f"/containers/{i}/{action}" for i in ids])


async def remove(docker: Dockerd, *ids: str) -> None:
    targets = [f"/containers/{id_}?force=1" for id_ in ids]
    await asyncio.to_thread(docker.engine.each, "DELETE", targets)


async def start(docker: Dockerd, count: int, **config: Any) -> list[str]:
    """Create and start containers, and return their ids."""
    serial = random.randrange(1 << 30)
    names = [f"box-{serial}-{number}" for number in range(count)]
    ids = [await asyncio.to_thread(docker.engine.create, name, **config) for name in names]
    await post(docker, "start", *ids)
    return ids


async def states(docker: Dockerd) -> dict[str, str]:
    listed = await asyncio.to_thread(docker.running)
    return {id_: state for id_, (_, state) in listed.items()}


async def drift(world: World) -> int:
    async with connected(world.bus_address) as link:
        return int(await link.get(NAME, f"{ROOT}/backend/docker", f"{NAME}.Backend", "Drift"))


async def settle(world: World, docker: Dockerd, *, seconds: float = 60) -> dict[str, str]:
    """Wait until the published states are those of the engine."""

    async def agrees() -> bool:
        before = await states(docker)
        return await published(world) == before == await states(docker)

    try:
        await eventually(agrees, "the published states are the engine's", seconds=seconds)
    except AssertionError as error:
        found, real = set((await published(world)).items()), set((await states(docker)).items())
        raise AssertionError(f"missing {real - found}, too many {found - real}") from error
    return await states(docker)


def counted(seen: Observer, ids: Sequence[str]) -> set[tuple[int, int]]:
    """Return how often each container started and stopped, by signals."""
    started, stopped = "InstanceStarted", "InstanceStopped"
    return {(seen.count(started, id_), seen.count(stopped, id_)) for id_ in ids}


async def signalled(seen: Observer, ids: Sequence[str], expected: set[tuple[int, int]]) -> None:
    """Wait until each of them has started and stopped as often as expected."""
    with contextlib.suppress(AssertionError):
        await eventually(lambda: counted(seen, ids) == expected, "signals")
    assert counted(seen, ids) == expected


async def property_is(world: World, id_: str, key: str, is_right: Callable[[Any], bool]) -> None:
    async def now() -> bool:
        with contextlib.suppress(CallError):  # not published yet
            return is_right((await instance(world, id_))[key])
        return False

    await eventually(now, f"{key} of {id_:.12}")


@asynccontextmanager
async def watched(world: World, ids: Sequence[str]) -> AsyncIterator[Observer]:
    """Observe the agent from the moment when it has inspected all containers."""
    for id_ in ids:
        await property_is(world, id_, "MainPID", lambda pid: pid > 0)
    async with observer(world) as seen:
        yield seen


async def test_every_start_and_stop_is_signalled_once(
    world: World, docker: Dockerd, tmp_path: Path
) -> None:
    early = await start(docker, 20)
    async with agent(world, tmp_path), watched(world, early) as seen:
        late = await start(docker, 20)
        assert set(await settle(world, docker)) == {*early, *late}
        await post(docker, "kill?signal=HUP", *early)
        await post(docker, "pause", *early[:8])
        await settle(world, docker)
        await post(docker, "unpause", *early[:8])
        await post(docker, "restart?t=1", *late[:8])
        await post(docker, "stop?t=1", *late[8:16])
        await remove(docker, *early[8:12])
        left = await settle(world, docker)
        assert set(left) == {*early, *late} - {*late[8:16], *early[8:12]}
        await signalled(seen, early[:8] + early[12:], {(0, 0)})
        await signalled(seen, early[8:12], {(0, 1)})
        await signalled(seen, late[:8], {(2, 1)})
        await signalled(seen, late[8:16], {(1, 1)})
        await signalled(seen, late[16:], {(1, 0)})
        assert (seen.unbalanced, await drift(world)) == ([], 0)


async def test_a_short_run_is_signalled(world: World, docker: Dockerd, tmp_path: Path) -> None:
    async with agent(world, tmp_path), observer(world) as seen:
        short = await start(docker, 10, Cmd=["true"], HostConfig={"AutoRemove": True})
        await signalled(seen, short, {(1, 1)})
        assert await published(world) == {}


async def has_restarted(docker: Dockerd, id_: str) -> bool:
    """Return True if the engine has restarted a container five times."""
    shown = await asyncio.to_thread(docker.engine.call, "GET", f"/containers/{id_}/json")
    return int(shown["RestartCount"]) >= 5


async def test_a_container_in_a_crash_loop_is_one_run(
    world: World, docker: Dockerd, tmp_path: Path
) -> None:
    async with agent(world, tmp_path), observer(world) as seen:
        ids = await start(docker, 2, Cmd=["false"], HostConfig=ALWAYS)
        for id_ in ids:
            await eventually(partial(has_restarted, docker, id_), "five restarts")
        await signalled(seen, ids, {(1, 0)})
        await property_is(world, ids[0], "State", lambda state: state == "restarting")
        await post(docker, "stop", ids[0])
        await remove(docker, ids[1])
        await signalled(seen, ids, {(1, 1)})


async def test_a_renamed_container_keeps_its_object(
    world: World, docker: Dockerd, tmp_path: Path
) -> None:
    (id_,) = await start(docker, 1)
    async with agent(world, tmp_path), observer(world) as seen:
        await post(docker, "rename?name=another", id_)
        await property_is(world, id_, "Name", lambda name: name == "another")
        assert counted(seen, [id_]) == {(0, 0)}


async def test_a_second_network_adds_its_addresses(
    world: World, docker: Dockerd, tmp_path: Path
) -> None:
    docker.run("network", "create", "--ipv6", "--subnet=fd00:6b6f:69::/64", "second")
    (id_,) = await start(docker, 1, network="bridge")
    async with agent(world, tmp_path):
        await property_is(world, id_, "Addresses", lambda found: len(found) == 1)
        docker.run("network", "connect", "second", id_)
        await property_is(world, id_, "Addresses", lambda found: len(found) == 3)
        docker.run("network", "disconnect", "second", id_)
        await property_is(world, id_, "Addresses", lambda found: len(found) == 1)


async def test_health_is_the_result_of_the_check(
    world: World, docker: Dockerd, tmp_path: Path
) -> None:
    async with agent(world, tmp_path):
        (id_,) = await start(docker, 1, Healthcheck=CHECK)
        await property_is(world, id_, "Health", lambda health: health == "unhealthy")
        docker.run("exec", id_, "sh", "-c", ">/well")
        await property_is(world, id_, "Health", lambda health: health == "healthy")


@pytest.mark.parametrize("is_paused", [False, True], ids=["running", "paused"])
async def test_a_container_that_survives_its_stop_signal_is_stopping(
    world: World, docker: Dockerd, tmp_path: Path, *, is_paused: bool
) -> None:
    stubborn = ["sh", "-c", "trap '' TERM; while :; do sleep 1; done"]
    async with agent(world, tmp_path), asyncio.TaskGroup() as group:
        (id_,) = await start(docker, 1, Cmd=stubborn)
        await property_is(world, id_, "State", lambda state: state == "running")
        if is_paused:
            await post(docker, "pause", id_)
        group.create_task(post(docker, "stop?t=50", id_), name="stop")
        await property_is(world, id_, "StateDetail", lambda detail: detail == "stopping")
        await remove(docker, id_)


async def test_each_restart_of_the_daemon_is_a_stop_and_a_start_of_its_containers(
    world: World, docker: Dockerd, tmp_path: Path
) -> None:
    always, once = await start(docker, 10, HostConfig=ALWAYS), await start(docker, 5)
    async with agent(world, tmp_path), watched(world, always + once) as seen:
        for cycle, end in enumerate((docker.kill, docker.stop), start=1):
            await asyncio.to_thread(end)
            await asyncio.to_thread(docker.start)
            assert set(await settle(world, docker)) == set(always)
            await signalled(seen, always, {(cycle, cycle)})
        await signalled(seen, once, {(0, 1)})
        assert (seen.unbalanced, await drift(world)) == ([], 0)


async def test_containers_with_live_restore_do_not_stop_with_the_daemon(
    world: World, lasting: Dockerd, tmp_path: Path
) -> None:
    ids = await start(lasting, 20)
    async with agent(world, tmp_path), watched(world, ids) as seen:
        for cycle in range(10):
            await asyncio.to_thread(lasting.kill)
            await asyncio.to_thread(lasting.start)
            await remove(lasting, ids[cycle])
            assert set(await settle(world, lasting)) == set(ids[cycle + 1 :])
        await signalled(seen, ids[:10], {(0, 1)})
        assert counted(seen, ids[10:]) == {(0, 0)}
        assert (seen.unbalanced, await drift(world)) == ([], 0)
