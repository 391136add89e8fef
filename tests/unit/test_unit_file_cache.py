"""Unit files are read again only if they have changed."""

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from koi_agent.backends.systemd.unit_files import UnitFileReader
from koi_agent.host.inotify import Inotify

Write = Callable[..., list[str]]
OPEN = 0x20
"""The event of inotify(7) that a file was opened."""


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def write(*texts: str) -> list[str]:
        paths = [tmp_path / f"{number}.conf" for number in range(len(texts))]
        for path, text in zip(paths, texts, strict=True):
            path.write_text(text)
        return [str(path) for path in paths]

    return write


def aged(path: str) -> None:
    """Wait until a change of the file would change its timestamp."""
    while time.time_ns() - Path(path).stat().st_ctime_ns < 150_000_000:
        time.sleep(0.02)


@pytest.fixture
def watch() -> Iterator[Inotify]:
    """A watch of the kernel; add the files whose openings count."""
    with Inotify() as made:
        yield made


def is_opened(watch: Inotify, reader: UnitFileReader, path: str) -> bool:
    """Return True if reading a unit opens its file; the kernel merges equal events."""
    reader.read("web.service", path)
    return bool(watch.read())


def test_unchanged_file_is_not_opened_again(write: Write, watch: Inotify) -> None:
    (path,) = write("[X-Koi]\nName=a\n")
    aged(path)
    watch.add(path, OPEN)
    reader = UnitFileReader({})
    assert is_opened(watch, reader, path)
    assert not is_opened(watch, reader, path)
    assert reader.read("a.service", path) == reader.read("b.service", path)


def test_cache_is_bounded(write: Write, watch: Inotify) -> None:
    old, new = write("[X-Koi]\nName=a\n", "[X-Koi]\nName=b\n")
    aged(new)
    for path in (old, new):
        watch.add(path, OPEN)
    reader = UnitFileReader({}, limit=1)
    opened = [is_opened(watch, reader, path) for path in (old, new, new, old)]
    assert opened == [True, True, False, True]


def test_each_of_many_quick_changes_is_read(write: Write) -> None:
    reader = UnitFileReader({})
    for number in range(200):
        (path,) = write(f"[X-Koi]\nName={number:03}\n")
        assert reader.read("web.service", path).assignments == (("X-Koi", "Name", f"{number:03}"),)


def test_change_after_a_while_is_read(write: Write) -> None:
    reader = UnitFileReader({})
    (path,) = write("[X-Koi]\nName=a\n")
    aged(path)
    reader.read("web.service", path)
    write("[X-Koi]\nName=b\n")
    assert reader.read("web.service", path).assignments == (("X-Koi", "Name", "b"),)
