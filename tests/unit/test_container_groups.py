"""The control groups of containers, in a directory that resembles the kernel's."""

import os
from pathlib import Path

import pytest

from koi_agent.host.container_groups import (
    LONGEST_PAUSE,
    PAUSE_FACTOR,
    ContainerGroups,
    group_of_process,
    has_process,
    pause_after,
)

ID = "9f2c" * 16
OTHER = "0a1b" * 16
PID = 77
USER = "user.slice/user-1000.slice/user@1000.service"
FORMS = {
    "systemd driver": f"/system.slice/docker-{ID}.scope",
    "a slice of the daemon": f"/my.slice/docker-{ID}.scope",
    "a slice in slices": f"/a.slice/a-b.slice/a-b-c.slice/docker-{ID}.scope",
    "the root slice": f"/docker-{ID}.scope",
    "a user's engine": f"/{USER}/user.slice/docker-{ID}.scope",
    "cgroupfs driver": f"/docker/{ID}",
    "a parent of the daemon": f"/mydocker/{ID}",
    "a parent of many parts": f"/a/b/c/{ID}",
    "below the engine's unit": f"/system.slice/docker.service/own/{ID}",
    "Podman": f"/machine.slice/libpod-{ID}.scope",
    "Podman in a unit": f"/system.slice/web.service/libpod-payload-{ID}",
}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = tmp_path / "cgroup"
    root.mkdir()
    (root / "cgroup.controllers").touch()
    return root


@pytest.fixture
def processes(tmp_path: Path) -> Path:
    folder = tmp_path / "proc"
    folder.mkdir()
    return folder


def made(root: Path, group: str, *pids: int) -> str:
    folder = root / group.strip("/")
    folder.mkdir(parents=True)
    (folder / "cgroup.procs").write_text("".join(f"{pid}\n" for pid in pids))
    return group


def process(processes: Path, group: str, pid: int = PID) -> None:
    (processes / str(pid)).mkdir()
    (processes / str(pid) / "cgroup").write_text(f"4:memory:/elsewhere\n0::{group}\n")


@pytest.mark.parametrize("group", FORMS.values(), ids=FORMS)
class TestEachForm:
    async def test_group_is_that_of_the_main_process(
        self, root: Path, processes: Path, group: str
    ) -> None:
        process(processes, made(root, group))
        assert await ContainerGroups(root, processes).find(ID, PID) == group

    async def test_manager_in_the_container_moves_the_process_but_not_the_container(
        self, root: Path, processes: Path, group: str
    ) -> None:
        process(processes, made(root, f"{group}/init.scope"))
        assert await ContainerGroups(root, processes).find(ID, PID) == group

    async def test_group_of_a_hidden_process_is_searched(
        self, root: Path, processes: Path, group: str
    ) -> None:
        made(root, group)
        assert await ContainerGroups(root, processes).find(ID, PID) == group

    async def test_siblings_are_found_without_another_search(
        self, root: Path, processes: Path, group: str
    ) -> None:
        groups = ContainerGroups(root, processes)
        made(root, group)
        assert await groups.find(ID, PID) == group
        assert await groups.find("none" * 16, PID) == ""  # no search for a while after this one
        sibling = made(root, group.replace(ID, OTHER))
        assert await groups.find(OTHER, PID) == sibling

    async def test_reused_number_of_a_process_does_not_mislead(
        self, root: Path, processes: Path, group: str
    ) -> None:
        made(root, group)
        process(processes, made(root, "/system.slice/other.service"))
        assert await ContainerGroups(root, processes).find(ID, PID) == group

    async def test_stopped_container_has_no_group(
        self, root: Path, processes: Path, group: str
    ) -> None:
        made(root, group)
        assert await ContainerGroups(root, processes).find(ID, 0) == ""


@pytest.mark.parametrize(
    "group",
    [
        f"/machine.slice/libpod-conmon-{ID}.scope",
        f"/x.slice/evil-{ID}.scope",
        f"/docker/{ID[:12]}",
        f"/docker/{OTHER}/docker/{ID}",
    ],
)
async def test_group_of_another_thing_with_the_id_is_not_taken(
    root: Path, processes: Path, group: str
) -> None:
    made(root, group)
    assert await ContainerGroups(root, processes).find(ID, PID) == ""


async def test_named_group_goes_first_if_it_exists(root: Path, processes: Path) -> None:
    made(root, FORMS["Podman"])
    groups = ContainerGroups(root, processes)
    named = made(root, "/a.slice/own")
    assert await groups.find(ID, PID, named=named) == named
    assert await groups.find(ID, PID, named="/a.slice/gone") == FORMS["Podman"]


@pytest.mark.parametrize("named", ["", "/", "..", "/system.slice/../..", "none", "/a\0b"])
async def test_path_outside_the_hierarchy_is_no_group(
    root: Path, processes: Path, named: str
) -> None:
    assert await ContainerGroups(root, processes).find(ID, PID, named=named) == ""


async def test_moved_container_is_found_again(root: Path, processes: Path) -> None:
    groups = ContainerGroups(root, processes)
    first = made(root, FORMS["cgroupfs driver"])
    assert await groups.find(ID, PID) == first
    (root / first.strip("/")).rename(root / "gone")
    second = made(root, FORMS["a slice of the daemon"])
    assert await groups.find(ID, PID) == second


async def test_host_without_the_unified_hierarchy_has_no_groups(tmp_path: Path) -> None:
    made(tmp_path, FORMS["cgroupfs driver"])
    assert await ContainerGroups(tmp_path).find(ID, PID) == ""
    assert not has_process("/docker", PID, tmp_path)


def test_process_is_found_in_a_group_and_below(root: Path) -> None:
    made(root, "/docker/a", PID)
    made(root, "/docker/b/init.scope", 8)
    assert has_process("/docker/a", PID, root)
    assert has_process("/docker", PID, root)
    assert has_process("/docker/b", 8, root)
    assert not has_process("/docker/b", PID, root)
    assert not has_process("/docker/a", 7, root)
    for group in ("", "/", "..", "/docker/../docker/a", "/none"):
        assert not has_process(group, PID, root)


def test_own_process_has_a_group_and_one_that_is_gone_has_none() -> None:
    assert group_of_process(os.getpid()).startswith("/")
    assert group_of_process(2**22 + 1) == ""


async def test_a_container_whose_group_is_nowhere_costs_no_search_until_the_pause_ends(
    root: Path, processes: Path
) -> None:
    for number in range(300):
        made(root, f"/unrelated/{number}")
    groups = ContainerGroups(root, processes)
    assert await groups.find(ID, PID) == ""
    # The search runs in a thread, for which a coroutine must wait. Without one it ends at once.
    with pytest.raises(StopIteration) as ended:
        groups.find(OTHER, PID).send(None)
    assert ended.value.value == ""


def test_pause_doubles_with_each_search_that_finds_nothing_up_to_a_bound() -> None:
    assert [pause_after(0.001, failures) for failures in range(3)] == [
        pytest.approx(PAUSE_FACTOR * 0.001 * factor) for factor in (1, 2, 4)
    ]
    assert pause_after(0.001, 100_000) == LONGEST_PAUSE
    assert pause_after(1.0, 5) == PAUSE_FACTOR
