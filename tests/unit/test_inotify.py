"""Watches on real files."""

import select
from pathlib import Path

import pytest

from koi_agent.host import inotify
from koi_agent.host.inotify import Inotify, events_from

pytestmark = pytest.mark.usefixtures("leak_check")


def test_events_have_watch_and_name(tmp_path: Path) -> None:
    with Inotify() as watches:
        assert watches.read() == []
        one = watches.add(str(tmp_path), inotify.CREATE | inotify.DELETE)
        (tmp_path / "käse").touch()
        (tmp_path / "käse").unlink()
        assert select.select([watches], [], [], 1)[0] == [watches]
        assert watches.read() == [(one, inotify.CREATE, "käse"), (one, inotify.DELETE, "käse")]
        assert watches.read() == []


def test_event_of_a_watched_file_has_no_name(tmp_path: Path) -> None:
    path = tmp_path / "cgroup.events"
    path.touch()
    with Inotify() as watches:
        one = watches.add(str(path), inotify.MODIFY)
        path.write_text("frozen 1")
        assert set(watches.read()) == {(one, inotify.MODIFY, "")}


def test_deleted_file_ends_its_watch(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.touch()
    with Inotify() as watches:
        one = watches.add(str(path), inotify.DELETE_SELF)
        path.unlink()
        assert watches.read() == [(one, inotify.DELETE_SELF, ""), (one, inotify.IGNORED, "")]


def test_missing_path_is_named(tmp_path: Path) -> None:
    with Inotify() as watches, pytest.raises(FileNotFoundError) as raised:
        watches.add(str(tmp_path / "none"), inotify.CREATE)
    assert raised.value.filename == str(tmp_path / "none")


def test_closed_instance_can_not_be_used_but_closed_again(tmp_path: Path) -> None:
    watches = Inotify()
    watches.close()
    watches.close()
    with pytest.raises(OSError, match="Bad file descriptor"):
        watches.add(str(tmp_path), inotify.CREATE)


def test_overflow_is_an_event(tmp_path: Path) -> None:
    most = int(Path("/proc/sys/fs/inotify/max_queued_events").read_text())
    if most > 100_000:
        pytest.skip(f"the queue holds {most} events")
    with Inotify() as watches:
        watches.add(str(tmp_path), inotify.CREATE | inotify.DELETE)
        path = tmp_path / "a"
        for _ in range(most // 2 + 1):
            path.touch()
            path.unlink()
        seen: list[tuple[int, int, str]] = []
        while events := watches.read():
            seen += events
    assert seen[-1] == (-1, inotify.OVERFLOW, "")


def test_incomplete_event_is_left_out() -> None:
    assert events_from(bytes(15)) == []
