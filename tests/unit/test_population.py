"""Containers whose last process ends without a word of their engine."""

import asyncio
import shutil
from pathlib import Path

import pytest

from koi_agent.host.population import PAUSE, PopulationWatch
from tests.real.agents import eventually

GROUP = "/docker/c1"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "cgroup.controllers").touch()
    populate(tmp_path, populated=True)
    return tmp_path


def populate(root: Path, *, populated: bool) -> None:
    folder = root / GROUP[1:]
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "cgroup.events").write_text(f"populated {int(populated)}\nfrozen 0\n")


class Emptied:
    """Keeps the owners whose control groups were found empty."""

    def __init__(self) -> None:
        self._owners: asyncio.Queue[str] = asyncio.Queue()
        self.add = self._owners.put_nowait

    async def next(self) -> str:
        """Wait for the next one."""
        async with asyncio.timeout(60):
            return await self._owners.get()


@pytest.mark.parametrize("is_removed", [False, True], ids=["empty", "gone"])
async def test_group_that_is_empty_or_gone_is_reported(root: Path, *, is_removed: bool) -> None:
    emptied = Emptied()
    watch = PopulationWatch(emptied.add, root)
    watch.follow("c1", GROUP, run="1")
    assert not watch.is_empty("c1")
    if is_removed:
        shutil.rmtree(root / "docker")
    else:
        populate(root, populated=False)
    assert await emptied.next() == "c1"
    assert watch.is_empty("c1")
    watch.close()


@pytest.mark.parametrize("group", ["", "/docker/other"])
async def test_group_that_was_never_seen_is_not_empty(root: Path, group: str) -> None:
    watch = PopulationWatch(Emptied().add, root)
    watch.follow("c1", group, run="1")
    assert not watch.is_empty("c1")
    watch.close()


async def test_group_of_the_same_run_that_is_not_found_again_is_gone(root: Path) -> None:
    watch = PopulationWatch(Emptied().add, root)
    watch.follow("c1", GROUP, run="1")
    shutil.rmtree(root / "docker")
    watch.follow("c1", "", run="1")
    assert watch.is_empty("c1")
    watch.follow("c1", "", run="2")
    assert not watch.is_empty("c1")
    watch.close()


async def test_next_run_in_the_same_group_is_watched(root: Path) -> None:
    emptied = Emptied()
    watch = PopulationWatch(emptied.add, root)
    watch.follow("c1", GROUP, run="1")
    shutil.rmtree(root / "docker")
    assert await emptied.next() == "c1"
    populate(root, populated=True)
    watch.follow("c1", GROUP, run="2")
    assert not watch.is_empty("c1")
    populate(root, populated=False)
    assert await emptied.next() == "c1"
    watch.forget("c1")
    assert not watch.is_empty("c1")
    watch.close()


async def test_without_the_unified_hierarchy_nothing_is_watched(tmp_path: Path) -> None:
    watch = PopulationWatch(Emptied().add, tmp_path)
    watch.follow("c1", GROUP, run="1")
    assert not watch.is_empty("c1")
    watch.close()


async def test_watch_that_is_closed_after_a_change_reports_nothing(root: Path) -> None:
    owners: list[str] = []
    watch = PopulationWatch(owners.append, root)
    watch.follow("c1", GROUP, run="1")
    populate(root, populated=False)
    await eventually(lambda: watch._pausing is not None, "the change is noticed")
    watch.close()
    await asyncio.sleep(PAUSE)
    assert owners == []
