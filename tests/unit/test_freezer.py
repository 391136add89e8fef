"""Units that freeze where systemd says nothing of it: the control group's own word."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from koi_agent.backends.systemd.freezer import Freezer
from koi_agent.core.instance import InstanceState
from tests.unit.desk import Desk, changed, path

GROUP = "/system.slice/web.service"


class Kernel:
    """A tree of control groups, and a desk whose freezer watches it."""

    def __init__(self, root: Path) -> None:
        self.desk = Desk()
        self.freezer = Freezer(self.desk.tracker.freezes)
        self.freezer._root = root
        self.desk.tracker.freezer = self.freezer
        self.desk.answers.values[path("web.service")] = {"ControlGroup": GROUP}
        self._folder = root / GROUP[1:]

    def makes_group(self) -> None:
        """Make the unit's group anew, as a restart does."""
        shutil.rmtree(self._folder, ignore_errors=True)
        self._folder.mkdir(parents=True)
        self.says(frozen=False)

    def says(self, *, frozen: bool) -> None:
        text = f"populated 1\nfrozen {frozen:d}\n"
        self._folder.joinpath("cgroup.events").write_text(text)
        self.freezer.read()

    def runs(self, run: bytes, *, restarts: int = 0) -> None:
        self.desk.read(*changed("active/running", pid=1, run=run, restarts=restarts))
        self.desk.answer()
        self.desk.tracker.look_after()

    def is_paused(self) -> bool:
        return self.desk.last["web.service"].state is InstanceState.PAUSED


@pytest.fixture
def kernel(tmp_path: Path) -> Iterator[Kernel]:
    made = Kernel(tmp_path)
    yield made
    made.freezer.close()


def test_unit_is_paused_while_its_group_is_frozen(kernel: Kernel) -> None:
    kernel.makes_group()
    kernel.runs(b"a")
    assert not kernel.is_paused()
    kernel.says(frozen=True)
    assert kernel.is_paused()
    kernel.says(frozen=False)
    assert not kernel.is_paused()


def test_unit_that_was_frozen_before_it_was_watched_is_paused(kernel: Kernel) -> None:
    kernel.makes_group()
    kernel.says(frozen=True)
    kernel.runs(b"a")
    assert kernel.is_paused()


@pytest.mark.parametrize("restarts", [0, 1], ids=["asked for", "automatic"])
def test_unit_that_was_restarted_is_watched_in_its_new_group(kernel: Kernel, restarts: int) -> None:
    kernel.makes_group()
    kernel.runs(b"a")
    kernel.makes_group()
    kernel.runs(b"b", restarts=restarts)
    kernel.says(frozen=True)
    assert kernel.is_paused()


def test_unit_without_a_group_is_not_watched(kernel: Kernel) -> None:
    kernel.runs(b"a")
    assert not kernel.is_paused()
