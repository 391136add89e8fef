"""Units that freeze where systemd sends no signal for it: the kernel's events are used."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from koi_agent.backends.systemd.freezer import FreezerWatch
from koi_agent.core.instance import InstanceState
from tests.unit.unit_table_harness import Harness, changed, path

CONTROL_GROUP = "/system.slice/web.service"


class Kernel:
    """A tree of control groups, and a table whose freezer watches it."""

    def __init__(self, root: Path) -> None:
        self.freezer = FreezerWatch(root)
        self.freezer.open()
        self.table = Harness(freezer=self.freezer)
        self.table.systemd.properties[path("web.service")] = {"ControlGroup": CONTROL_GROUP}
        self._folder = root / CONTROL_GROUP[1:]

    async def make_group(self) -> None:
        """Make the control group of web.service; of one that runs, remove the old one."""
        replaces = self._folder.exists()
        shutil.rmtree(self._folder, ignore_errors=True)
        self._folder.mkdir(parents=True)
        self._write(frozen=False)
        if replaces:
            await self._apply_changes()

    async def freeze(self, *, frozen: bool) -> None:
        """Freeze or thaw the control group of a watched unit."""
        self._write(frozen=frozen)
        await self._apply_changes()

    def _write(self, *, frozen: bool) -> None:
        text = f"populated 1\nfrozen {frozen:d}\n"
        self._folder.joinpath("cgroup.events").write_text(text)

    def freeze_unwatched(self) -> None:
        self._write(frozen=True)

    async def _apply_changes(self) -> None:
        for unit, state in (await self.freezer.changes()).items():
            self.table.table.freezer_state_changed(unit, state)

    async def start(self, run: bytes, *, restarts: int = 0) -> None:
        """Start a run of web.service, and let its listeners be found."""
        self.table.receive(*changed("active/running", pid=1, run=run, restarts=restarts))
        await self.table.answer()
        self.table.table.listeners_found(None, since=0)

    def is_paused(self) -> bool:
        return self.table.last["web.service"].state is InstanceState.PAUSED


@pytest.fixture
def kernel(tmp_path: Path) -> Iterator[Kernel]:
    (tmp_path / "cgroup.controllers").touch()
    made = Kernel(tmp_path)
    yield made
    made.freezer.close()


async def test_unit_is_paused_while_its_group_is_frozen(kernel: Kernel) -> None:
    await kernel.make_group()
    await kernel.start(b"a")
    assert not kernel.is_paused()
    await kernel.freeze(frozen=True)
    assert kernel.is_paused()
    await kernel.freeze(frozen=False)
    assert not kernel.is_paused()


async def test_unit_that_was_frozen_before_it_was_watched_is_paused(kernel: Kernel) -> None:
    await kernel.make_group()
    kernel.freeze_unwatched()
    await kernel.start(b"a")
    assert kernel.is_paused()


@pytest.mark.parametrize("restarts", [0, 1], ids=["by a job", "automatic"])
async def test_unit_that_was_restarted_is_watched_in_its_new_group(
    kernel: Kernel, restarts: int
) -> None:
    await kernel.make_group()
    await kernel.start(b"a")
    await kernel.make_group()
    await kernel.start(b"b", restarts=restarts)
    await kernel.freeze(frozen=True)
    assert kernel.is_paused()


async def test_unit_without_a_group_is_not_watched(kernel: Kernel) -> None:
    await kernel.start(b"a")
    assert not kernel.is_paused()
