"""Unit files are read again only if they have changed."""

import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from koi_agent.backends.systemd.unit_files import UnitFileReader

Write = Callable[..., list[str]]


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


def opened(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    paths: list[object] = []
    original = os.open

    def counted(path: str, flags: int) -> int:
        paths.append(path)
        return original(path, flags)

    monkeypatch.setattr(os, "open", counted)
    return paths


def test_unchanged_file_is_not_opened_again(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    (path,) = write("[X-Koi]\nName=a\n")
    aged(path)
    paths = opened(monkeypatch)
    reader = UnitFileReader({})
    assert reader.read("a.service", path) == reader.read("b.service", path)
    assert paths == [path]


def test_cache_is_bounded(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    old, new = write("[X-Koi]\nName=a\n", "[X-Koi]\nName=b\n")
    aged(new)
    paths = opened(monkeypatch)
    reader = UnitFileReader({}, limit=1)
    for path in (old, new, new, old):
        reader.read("web.service", path)
    assert paths == [old, new, old]


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
