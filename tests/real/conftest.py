"""A real systemd for the tests here: one private world for all, reset after each.

There is one real cluster of Kubernetes, too, in which each test has a namespace and a node.
"""

from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import Final

import pytest

from tests import kubernetes
from tests import lan as small_network
from tests import world as private_world
from tests.conftest import require
from tests.kubernetes.cluster import Cluster
from tests.lan import Lan
from tests.real.followed_cluster import Shop, opened_shop
from tests.world import World

SHOPS: Final = count(1)


@pytest.fixture(scope="session")
def shared_world() -> Iterator[World]:
    """The world that all tests of a process share; use ``world``, which is reset after each."""
    if reason := private_world.missing():
        require("systemd", reason)
    with World() as started:
        yield started


@pytest.fixture
def world(shared_world: World) -> Iterator[World]:
    """A private world without traces of other tests."""
    yield shared_world
    shared_world.reset()


@pytest.fixture
def lan(world: World, tmp_path: Path) -> Iterator[Lan]:
    """Two hosts on a network; the Avahi of the world does not run yet."""
    if reason := small_network.missing():
        require("avahi", reason)
    with Lan(world, tmp_path) as made:
        yield made


@pytest.fixture(scope="session")
def shared_cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """The cluster that all tests of a process share, and that no test stops."""
    if reason := kubernetes.missing():
        require("kubernetes", reason)
    with Cluster(tmp_path_factory.mktemp("cluster")) as cluster:
        yield cluster


@pytest.fixture
def shop(shared_cluster: Cluster) -> Iterator[Shop]:
    """A namespace of the shared cluster, with a node of the same name."""
    with opened_shop(shared_cluster, f"shop-{next(SHOPS)}") as opened:
        yield opened


@pytest.fixture
def own_cluster(tmp_path: Path) -> Iterator[Cluster]:
    """A cluster that only this test uses."""
    if reason := kubernetes.missing():
        require("kubernetes", reason)
    with Cluster(tmp_path) as cluster:
        yield cluster
