"""Sockets and files that appear, change or disappear end the wait, and nothing else does."""

import asyncio
import os
import socket
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

from koi_agent.host.inotify import MODIFY, Inotify
from koi_agent.host.path_watch import path_states, wait_for_change, watch

Change = Callable[[Path], object]


def listen(path: Path) -> None:
    """Create a socket, or replace it, as a daemon does that starts."""
    path.unlink(missing_ok=True)
    with socket.socket(socket.AF_UNIX) as one:
        one.bind(str(path))


@pytest.fixture
def place(tmp_path: Path) -> Path:
    return tmp_path / "engine" / "engine.sock"


async def is_noticed(path: Path, change: Change) -> bool:
    """Return whether a change ends the wait; fail if it ends before the change."""
    waiting = asyncio.ensure_future(wait_for_change([str(path)], path_states([str(path)])))  # noqa: TID251
    await asyncio.sleep(0.02)
    assert not waiting.done()
    change(path)
    with suppress(TimeoutError):
        async with asyncio.timeout(0.3):
            await asyncio.shield(waiting)
    done = waiting.done()
    waiting.cancel()
    await asyncio.wait([waiting])
    return done


def with_folder(path: Path) -> None:
    path.parent.mkdir()
    listen(path)


async def test_socket_in_a_directory_that_does_not_exist_yet(place: Path) -> None:
    assert await is_noticed(place, with_folder)


@pytest.mark.parametrize(
    "change",
    [
        listen,
        lambda path: path.unlink(),
        lambda path: path.chmod(0o600),
        lambda path: os.chown(path, os.getuid(), os.getgid() + 1),
        lambda path: path.rename(path.with_name("other")),
        lambda path: path.parent.chmod(0o700),
        lambda path: path.parent.rename(path.parent.with_name("other")),
    ],
    ids=["replaced", "removed", "chmod", "chown", "renamed", "folder chmod", "folder renamed"],
)
async def test_socket_that_changes(place: Path, change: Change) -> None:
    if os.geteuid() != 0:
        pytest.skip("not root: a file can't be given away")
    with_folder(place)
    assert await is_noticed(place, change)


async def test_file_that_is_written_in_place(tmp_path: Path) -> None:
    path, link = tmp_path / "token", tmp_path / "link"
    path.write_text("abc")
    link.symlink_to(path)
    assert await is_noticed(path, lambda path: path.write_text("xyz"))
    assert await is_noticed(link, lambda _path: path.write_text("abc"))


async def test_writes_to_a_file_around_it_wake_nothing_up(tmp_path: Path) -> None:
    path, other = tmp_path / "token", tmp_path / "other"
    for one in (path, other):
        one.write_text("abc")
    with Inotify() as watches:
        watch(watches, [str(path), str(tmp_path)])
        other.write_text("xyz")
        assert MODIFY not in [mask for _, mask, _ in watches.read()]
        path.write_text("xyz")
        assert MODIFY in [mask for _, mask, _ in watches.read()]


async def test_other_files_around_it_are_not_noticed(place: Path) -> None:
    place.parent.mkdir()

    def around(path: Path) -> None:
        path.with_name("other").touch()
        (path.parents[1] / "another").mkdir()
        path.with_name("other").unlink()

    assert not await is_noticed(place, around)


async def test_change_before_the_watch_is_noticed(place: Path) -> None:
    before = path_states([str(place)])
    with_folder(place)
    async with asyncio.timeout(60):
        await wait_for_change([str(place)], before)


async def test_target_of_a_link_that_appears(tmp_path: Path) -> None:
    link, target = tmp_path / "run" / "docker.sock", tmp_path / "podman" / "podman.sock"
    link.parent.mkdir()
    link.symlink_to("../podman/podman.sock")
    assert await is_noticed(link, lambda _path: with_folder(target))


async def test_circular_links_are_watched(tmp_path: Path) -> None:
    one, other = tmp_path / "one", tmp_path / "other"
    one.symlink_to(other)
    other.symlink_to(one)
    assert await is_noticed(one, lambda path: path.unlink())


async def test_each_of_several_is_watched(tmp_path: Path) -> None:
    paths = [str(tmp_path / name / "sock") for name in ("a", "b")]
    waiting = asyncio.ensure_future(wait_for_change(paths, path_states(paths)))  # noqa: TID251
    await asyncio.sleep(0.02)
    with_folder(Path(paths[1]))
    async with asyncio.timeout(60):
        await waiting


@pytest.mark.usefixtures("leak_check")
async def test_nothing_stays_open(place: Path) -> None:
    assert await is_noticed(place, with_folder)
