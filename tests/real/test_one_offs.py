"""A one-off of ``compose run`` beside its service, with a real Docker."""

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import dockerd
from tests.conftest import require
from tests.dockerd import Dockerd
from tests.dockerd.engine import IMAGE
from tests.real.agents import agent, eventually, instance
from tests.real.announced import settings
from tests.real.test_cli import koi_runtime
from tests.world import World


@pytest.fixture
def docker(world: World, tmp_path: Path) -> Iterator[Dockerd]:
    if reason := dockerd.missing():
        require("docker", reason)
    with Dockerd(tmp_path) as started:
        settings(world, f"[Runtime]\nBackends=docker\n[Docker]\nSocket={started.socket}\n")
        yield started


async def run(docker: Dockerd, name: str, one_off: str) -> str:
    labels = {
        "com.docker.compose.project": "shop",
        "com.docker.compose.service": "web",
        "com.docker.compose.container-number": "1",
        "com.docker.compose.oneoff": one_off,
        "koi.announce": "shop",
    }
    flags = [f"--label={key}={value}" for key, value in labels.items()]
    command = ("run", "-d", "-p", "80", f"--name={name}", *flags, IMAGE)
    done = await asyncio.to_thread(docker.run, *command)
    return str(done.stdout.strip())


async def test_a_one_off_that_was_first_leaves_the_name_to_its_service(
    world: World, docker: Dockerd, tmp_path: Path
) -> None:
    one_off = await run(docker, "shop-web-run-1", "True")
    service = await run(docker, "shop-web-1", "False")
    async with agent(world, tmp_path):

        async def explains() -> str:
            done = await asyncio.to_thread(koi_runtime, world, "explain", "web")
            return done.stdout if "'shop' of type" in done.stdout else ""

        assert f"docker:{service}" in await eventually(explains, "the service has the name")
        assert (await instance(world, one_off))["Name"] == "shop-web-run-1"
        shown = await asyncio.to_thread(koi_runtime, world, "show", "web")
        assert (shown.returncode, one_off in shown.stdout) == (0, False)
        explained = await asyncio.to_thread(koi_runtime, world, "explain", "shop-web-run-1")
        assert "'shop #2' of type" in explained.stdout
        assert "a one-off run of the Compose service web" in explained.stdout
