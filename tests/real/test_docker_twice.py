"""Two real Docker engines are followed by two backends of one kind, in one registry."""

import asyncio
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from koi_agent.backends.docker import Docker
from koi_agent.backends.docker.kinds import DOCKER
from koi_agent.backends.docker.sockets import find_candidates
from koi_agent.core.events import BackendState, Change
from koi_agent.core.registry import Registry
from koi_agent.follow.follower import Follower
from koi_agent.host.listeners import ListenerTable
from tests import dockerd
from tests.conftest import require
from tests.dockerd import Dockerd
from tests.runtimes.followed import eventually

NAMES = ("docker", "build")


@pytest.fixture
def engines(tmp_path: Path) -> Iterator[dict[str, Dockerd]]:
    if reason := dockerd.missing():
        require("docker", reason)
    with ExitStack() as stack:
        started: dict[str, Dockerd] = {}
        for name in NAMES:
            folder = tmp_path / name
            folder.mkdir()
            started[name] = stack.enter_context(Dockerd(folder))
        yield started


def start_container(engine: Dockerd) -> str:
    id_ = engine.engine.create("web")
    engine.engine.call("POST", f"/containers/{id_}/start")
    return id_


async def test_two_engines_are_followed_without_a_clash(engines: dict[str, Dockerd]) -> None:
    registry, listeners = Registry(dict.fromkeys(NAMES, DOCKER.name)), ListenerTable()

    def apply(change: Change) -> None:
        registry.apply(change, time.time_ns() // 1000)

    def follower(name: str) -> Follower:
        candidates = find_candidates(DOCKER, str(engines[name].socket), "system", {})
        backend = Docker(name, DOCKER, candidates, listeners, image_labels=False)
        return Follower(backend, apply, registry.differences, interval=1e6)

    def published() -> set[str]:
        return {str(one.key) for one in registry.visible.values() if one.main_pid}

    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(follower(name).run(), name=name) for name in NAMES]
        ids = {name: await asyncio.to_thread(start_container, engines[name]) for name in NAMES}
        keys = {name: f"{name}:{id_}" for name, id_ in ids.items()}
        await eventually(lambda: published() == {*keys.values()}, lambda: registry.backends)
        assert {one.name for one in registry.visible.values()} == {"web"}
        await asyncio.to_thread(engines["build"].kill)
        await eventually(
            lambda: registry.backends["build"].state is BackendState.STALE, "one engine is lost"
        )
        assert registry.backends["docker"].state is BackendState.SYNCED
        target = f"/containers/{ids['docker']}?force=1"
        await asyncio.to_thread(engines["docker"].engine.call, "DELETE", target)
        await eventually(lambda: published() == {keys["build"]}, lambda: registry.backends)
        for task in tasks:
            task.cancel()
