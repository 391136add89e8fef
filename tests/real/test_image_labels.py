"""Labels that a real Docker merges from an image into its containers."""

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from koi_agent.bus.client import CallError
from tests import dockerd
from tests.conftest import require
from tests.dockerd import Dockerd, image
from tests.dockerd.engine import IMAGE
from tests.real.agents import agent, eventually, instance
from tests.real.announced import settings
from tests.real.test_cli import koi_runtime
from tests.world import World

SPOOFING = "koi-spoofing"
CHANGES = (
    image.COMMAND,
    "LABEL koi.announce=wpad koi.port=80 traefik.http.routers.a.rule=Host(`wpad`)",
    "ENV KOI_MDNS_ANNOUNCE=isatap",
)


@pytest.fixture
def docker(world: World, tmp_path: Path) -> Iterator[Dockerd]:
    """A Docker with an image that has labels of its own."""
    if reason := dockerd.missing():
        require("docker", reason)
    with Dockerd(tmp_path) as started:
        changes = "".join(f"&changes={quote(change)}" for change in CHANGES)
        target = f"/images/create?fromSrc=-&repo={SPOOFING}{changes}"
        started.engine.call("POST", target, image.archive())
        yield started


def follow(world: World, docker: Dockerd, more: str = "") -> None:
    settings(
        world,
        f"[Runtime]\nBackends=docker\n[Docker]\nSocket={docker.socket}\n[Capabilities]\n{more}",
    )


async def run(docker: Dockerd, name: str, of: str = SPOOFING, **labels: str) -> str:
    flags = [f"--label={key.replace('_', '.')}={value}" for key, value in labels.items()]
    done = await asyncio.to_thread(
        docker.run, "run", "-d", "-p", "80", f"--name={name}", *flags, of
    )
    return str(done.stdout.strip())


async def explanation(world: World, name: str) -> str:
    return (await asyncio.to_thread(koi_runtime, world, "explain", name)).stdout


async def metadata(world: World, id_: str) -> dict[str, Any]:
    """Return the metadata of a container once it is inspected."""

    async def inspected() -> dict[str, Any] | None:
        try:
            shown: dict[str, Any] = await instance(world, id_)
        except CallError:
            return None
        return shown if shown["MainPID"] else None

    found = await eventually(inspected, "the container is inspected")
    return dict(found["Metadata"])


async def test_only_labels_of_the_container_count(
    world: World, docker: Dockerd, tmp_path: Path
) -> None:
    follow(world, docker)
    async with agent(world, tmp_path):
        stranger = await run(docker, "stranger")
        same = await run(docker, "same", koi_announce="wpad")
        own = await run(docker, "own", koi_announce="wiki")
        plain = await run(docker, "plain", IMAGE, koi_announce="shop")
        for id_ in (stranger, same):
            assert "enable" not in await metadata(world, id_)
        assert (await metadata(world, own))["name"] == "wiki"
        assert (await metadata(world, plain))["name"] == "shop"
        explained = await explanation(world, "stranger")
        assert "refused koi.announce: it comes from the image" in explained
        assert "refused KOI_MDNS_ANNOUNCE: it comes from the image" in explained


async def test_labels_of_images_count_if_the_administrator_wants_so(
    world: World, docker: Dockerd, tmp_path: Path
) -> None:
    follow(world, docker, "ImageLabels=yes\n")
    async with agent(world, tmp_path) as running:
        id_ = await run(docker, "stranger")
        assert (await metadata(world, id_))["name"] == "wpad"
        explained = await explanation(world, "stranger")
        assert "'wpad' is reserved" in explained
        follow(world, docker)
        running.process.send_signal(1)

        async def is_refused() -> bool:
            return "enable" not in await metadata(world, id_)

        await eventually(is_refused, "the reload applies")
