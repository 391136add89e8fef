"""A real container in a crash loop: its ports and its records stay steady."""

import asyncio
from pathlib import Path
from typing import Any

from tests import dockerd
from tests.conftest import require
from tests.dockerd import Dockerd
from tests.real.agents import agent, eventually, instance, published
from tests.real.announced import settings
from tests.world import World

CONFIG = "[Runtime]\nBackends=docker\nRestartGrace=500ms\n[Docker]\nSocket={}\n"
LABELS = {"koi.announce": "loop"}
CONTAINER: dict[str, Any] = {
    "Cmd": ["sleep", "0.3"],
    "Labels": LABELS,
    "ExposedPorts": {"80/tcp": {}},
    "HostConfig": {
        "RestartPolicy": {"Name": "always"},
        "PortBindings": {"80/tcp": [{"HostPort": "18080"}]},
    },
}
TURNS = 7
"""Docker waits 0.1 s before the first restart, and twice as long before each other one."""


async def test_crash_loop_is_announced_and_withdrawn_once(world: World, tmp_path: Path) -> None:
    if reason := dockerd.missing():
        require("docker", reason)
    with Dockerd(tmp_path) as docker:
        settings(world, CONFIG.format(docker.socket))
        async with agent(world, tmp_path):
            id_ = docker.engine.create("loop", network="bridge", **CONTAINER)
            docker.engine.call("POST", f"/containers/{id_}/start")

            async def is_known() -> bool:
                known = id_ in await published(world) and await instance(world, id_)
                return bool(known and known["Announcements"] and known["Ports"])

            await eventually(is_known, "it is known with its ports")
            statuses: list[set[str]] = []
            states: list[str] = []
            now: dict[str, Any] = {}
            restarts = 0
            now = await instance(world, id_)
            while restarts < TURNS:
                now = await instance(world, id_)
                status = {one["status"] for one in now["Announcements"]}
                statuses += [status] if statuses[-1:] != [status] else []
                states += [now["State"]] if states[-1:] != [now["State"]] else []
                assert {one["host_port"] for one in now["Ports"]} == {18080}, now
                inspected = docker.engine.call("GET", f"/containers/{id_}/json")
                restarts = inspected["RestartCount"]
                await asyncio.sleep(0.02)
            assert statuses in ([{"wanted"}, {"held"}], [{"held"}])  # a slow restart is seen late
            assert states.count("restarting") > 2
            reasons = {one["reason"] for one in now["Announcements"]}
            assert reasons == {"it is restarting; it must first run for 10 s"}
