"""Labels that a container has from its image do not count, unless the administrator wants them."""

from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from koi_agent.backends.docker.tunables import Tunables
from koi_agent.core.instance import Instance
from tests.runtimes.fake_containers import FakeContainer
from tests.runtimes.followed import Followed, eventually, followed

DIGITS = "0a" * 32
ID = f"sha256:{DIGITS}"
SOON = Tunables(inspect_retry=0.05)
RULE = {"traefik.http.routers.a.rule": "Host(`wpad.lan`)"}


def image(environment: tuple[str, ...] = (), **labels: str) -> dict[str, Any]:
    named = {key.replace("__", "."): value for key, value in labels.items()}
    return {"Config": {"Labels": named, "Env": ["PATH=/bin", *environment]}}


async def inspected(engine: Followed, container: FakeContainer) -> Instance:
    """Wait for the first inspection."""
    await eventually(
        lambda: (
            container.id in {key.id for key in engine.registry.visible}
            and engine.known(container).main_pid
        ),
        "the container is inspected",
    )
    return engine.known(container)


def refused(instance: Instance) -> dict[str, str]:
    return {one.key: one.reason for one in instance.metadata.refused}


@pytest.mark.parametrize("kind", ["docker", "podman"])
@pytest.mark.parametrize("id_", [ID, DIGITS])
async def test_labels_of_the_image_do_not_opt_in(tmp_path: Path, kind: str, id_: str) -> None:
    async with followed(tmp_path, kind, image_labels=False) as engine:
        engine.fake.images[DIGITS] = image(koi__announce="wpad", koi__port="80")
        labels = {"koi.announce": "wpad", "koi.port": "80"}
        container = engine.containers.run(image=id_, labels=labels)
        metadata = (await inspected(engine, container)).metadata
        assert (metadata.enable, metadata.name, metadata.port) == (None, None, None)
        assert refused(engine.known(container)).keys() == labels.keys()
        assert "comes from the image" in refused(engine.known(container))["koi.announce"]


async def test_labels_of_the_container_count_beside_those_of_the_image(tmp_path: Path) -> None:
    async with followed(tmp_path, image_labels=False) as engine:
        engine.fake.images[DIGITS] = image(koi__name="wpad", koi__type="_x._tcp")
        labels = {"koi.announce": "wiki", "koi.name": "Wiki", "koi.type": "_x._tcp"}
        container = engine.containers.run(image=ID, labels=labels)
        metadata = (await inspected(engine, container)).metadata
        assert (metadata.enable, metadata.name, metadata.dns_name) == (True, "Wiki", "wiki")
        assert metadata.service_type is None


async def test_partner_labels_and_the_variable_of_the_image_do_not_opt_in(tmp_path: Path) -> None:
    async with followed(tmp_path, image_labels=False) as engine:
        variable = "KOI_MDNS_ANNOUNCE=wpad"
        engine.fake.images[DIGITS] = {"Config": {"Labels": RULE, "Env": [variable]}}
        one = engine.containers.run(image=ID, labels=RULE, environment=(variable,))
        own = engine.containers.run(image=ID, environment=("KOI_MDNS_ANNOUNCE=web",))
        assert (await inspected(engine, one)).metadata.enable is None
        assert refused(engine.known(one)).keys() == {*RULE, "KOI_MDNS_ANNOUNCE"}
        assert (await inspected(engine, own)).metadata.name == "web"


@pytest.mark.parametrize("value", ["false", "no", "maybe"])
async def test_an_opt_out_of_the_image_counts(tmp_path: Path, value: str) -> None:
    async with followed(tmp_path, image_labels=False) as engine:
        engine.fake.images[DIGITS] = image(koi__enable=value)
        labels = {"koi.enable": value, "koi.announce": "web"}
        container = engine.containers.run(image=ID, labels=labels)
        assert (await inspected(engine, container)).metadata.enable is False


async def test_traefiks_switch_of_the_image_disables_the_containers_rule(tmp_path: Path) -> None:
    async with followed(tmp_path, image_labels=False) as engine:
        engine.fake.images[DIGITS] = image(traefik__enable="false")
        labels = {"traefik.enable": "false"} | RULE
        container = engine.containers.run(image=ID, labels=labels)
        assert (await inspected(engine, container)).metadata.enable is None


async def test_all_labels_count_if_the_administrator_wants_so(tmp_path: Path) -> None:
    async with followed(tmp_path, image_labels=True) as engine:
        engine.fake.images[DIGITS] = image(koi__announce="web")
        container = engine.containers.run(image=ID, labels={"koi.announce": "web"})
        assert (await inspected(engine, container)).metadata.name == "web"
        assert "image" not in engine.fake.requests


@pytest.mark.parametrize("id_", ["", "busybox", "sha256:00", ID])
async def test_labels_count_as_the_images_if_it_cannot_be_inspected(
    tmp_path: Path, id_: str
) -> None:
    async with followed(tmp_path, image_labels=False) as engine:
        container = engine.containers.run(image=id_, labels={"koi.announce": "web"})
        assert (await inspected(engine, container)).metadata.enable is None
        assert "can't be inspected" in refused(engine.known(container))["koi.announce"]


async def test_metadata_of_any_size_does_not_fail_open(tmp_path: Path) -> None:
    async with followed(tmp_path, image_labels=False) as engine:
        labels = {f"koi.txt.{number}": "x" * 100 for number in range(2000)}
        engine.fake.images[DIGITS] = {"Config": {"Labels": labels}}
        container = engine.containers.run(image=ID, labels=labels | {"koi.enable": "true"})
        metadata = (await inspected(engine, container)).metadata
        assert (metadata.enable, metadata.txt) == (None, ())
        assert len(metadata.refused) < 20


async def test_an_image_is_inspected_again_after_the_engine_could_not(tmp_path: Path) -> None:
    cut: Callable[[bytes], bytes] = lambda body: body[:5]  # noqa: E731
    async with followed(tmp_path, image_labels=False, tunables=SOON) as engine:
        engine.fake.images[DIGITS] = image()
        engine.faults.bodies["image"] = deque([cut, cut])
        container = engine.containers.run(image=ID, labels={"koi.announce": "web"})
        await inspected(engine, container)
        await eventually(lambda: engine.known(container).metadata.name == "web", "it counts")


async def test_an_image_is_inspected_once_and_only_for_metadata(tmp_path: Path) -> None:
    async with followed(tmp_path, image_labels=False) as engine:
        engine.fake.images[DIGITS] = image()
        plain = [engine.containers.run(image=ID, labels={"a": "b"}) for _ in range(5)]
        for container in plain:
            await inspected(engine, container)
        assert "image" not in engine.fake.requests
        many = [engine.containers.run(image=ID, labels={"koi.announce": "x"}) for _ in range(30)]
        for container in many:
            assert (await inspected(engine, container)).metadata.enable is True
        assert engine.fake.requests.count("image") == 1


async def test_a_container_that_is_only_listed_has_no_metadata_yet(tmp_path: Path) -> None:
    async with followed(tmp_path, image_labels=False, settled=False) as engine:
        engine.faults.silent.add("inspect")
        container = engine.containers.run(labels={"koi.announce": "web"})
        await eventually(lambda: engine.registry.visible, "it is listed")
        assert engine.known(container).metadata.enable is None


@pytest.mark.parametrize("image_labels", [False, True], ids=["own", "all"])
@pytest.mark.parametrize("kind", ["docker", "podman"])
async def test_labels_are_parsed_once_in_a_containers_life(
    tmp_path: Path, kind: str, *, image_labels: bool
) -> None:
    async with followed(tmp_path, kind, image_labels=image_labels) as engine:
        engine.fake.images[DIGITS] = image()
        container = engine.containers.run(image=ID, labels={"koi.announce": "web"})
        assert (await inspected(engine, container)).metadata.name == "web"
        # No engine changes them, so that those of a later inspection are not read.
        container.labels = {"koi.announce": "other"}
        for _ in range(2):
            engine.containers.toggle_network(container)
            await engine.settle()
            assert set(engine.known(container).ips) >= set(container.networks.values())
        assert engine.known(container).metadata.name == "web"


async def test_a_variable_counts_although_a_list_had_the_labels(tmp_path: Path) -> None:
    async with followed(tmp_path, settled=False, tunables=SOON) as engine:
        engine.faults.statuses["inspect"] = deque([500])
        container = engine.containers.run(environment=("KOI_MDNS_ANNOUNCE=web",))
        assert (await inspected(engine, container)).metadata.name == "web"
