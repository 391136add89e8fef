"""Files for dnsmasq: a file for each instance, and never a file of others."""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from koi_agent.capabilities.dns.providers import HostsDirectory
from koi_agent.capabilities.dns.records import Name
from koi_agent.core.contracts import ProviderSession
from koi_agent.core.errors import ProviderLost, ProviderRefused
from koi_agent.core.instance import RecordState, RecordStatus
from koi_agent.core.key import Key
from tests.unit.dns_zones import complete, key, named
from tests.unit.virtual_time import in_virtual_time

WIKI = named("a", "wiki.internal", "192.0.2.1", "2001:db8::1")
SHOP = named("b", "shop.internal", "192.0.2.1")


@asynccontextmanager
async def session(
    directory: Path, reported: dict[Key, Sequence[RecordStatus]] | None = None
) -> AsyncIterator[ProviderSession[Name]]:
    report = reported if reported is not None else {}
    async with HostsDirectory("system", str(directory)).session(report.__setitem__) as opened:
        yield opened


def files(directory: Path) -> dict[str, str]:
    return {path.name: path.read_text() for path in directory.iterdir()}


def content(directory: Path) -> str:
    return "".join(sorted(files(directory).values()))


def modes(directory: Path) -> set[int]:
    return {path.stat().st_mode & 0o777 for path in directory.iterdir()}


def write(directory: Path, texts: Mapping[str, str]) -> None:
    for name, text in texts.items():
        (directory / name).write_text(text)


def replace_by_directory(path: Path) -> None:
    """Make a path something that not even root can unlink."""
    path.unlink()
    path.mkdir()


async def test_each_instance_has_a_file_that_all_may_read(tmp_path: Path) -> None:
    reported: dict[Key, Sequence[RecordStatus]] = {}
    async with session(tmp_path, reported) as opened:
        await opened.put(key("a"), [WIKI])
        await opened.put(key("b"), [SHOP])
        assert content(tmp_path) == (
            "192.0.2.1 shop.internal\n192.0.2.1 wiki.internal\n2001:db8::1 wiki.internal\n"
        )
        assert modes(tmp_path) == {0o644}
        assert [one.state for one in reported[key("a")]] == [RecordState.ANNOUNCED]
        await opened.put(key("a"), ())
        assert content(tmp_path) == "192.0.2.1 shop.internal\n"
    assert content(tmp_path) == ""


async def test_a_name_that_only_this_host_reaches_is_held(tmp_path: Path) -> None:
    reported: dict[Key, Sequence[RecordStatus]] = {}
    async with session(tmp_path, reported) as opened:
        await opened.put(key("a"), [WIKI])
        await opened.put(key("a"), [named("a", "wiki.internal")])
        assert content(tmp_path) == ""
        assert [one.state for one in reported[key("a")]] == [RecordState.HELD]


@in_virtual_time
async def test_files_of_a_killed_agent_go_and_those_of_others_stay(tmp_path: Path) -> None:
    async with session(tmp_path) as opened:
        await opened.put(key("a"), [WIKI])
        await opened.put(key("b"), [SHOP])
        left = files(tmp_path)
    others = ["hosts", "koi-runtime-00000000-0123456789abcdef", "koi-runtime", ".x"]
    write(tmp_path, left | {f".{name}": "half" for name in left} | dict.fromkeys(others, ""))
    async with session(tmp_path) as opened, asyncio.TaskGroup() as group:
        running = group.create_task(opened.run())
        await opened.put(key("a"), [WIKI])
        await asyncio.sleep(1000)
        assert "shop" in content(tmp_path)
        complete(opened)
        await asyncio.sleep(1)
        assert content(tmp_path) == "192.0.2.1 wiki.internal\n2001:db8::1 wiki.internal\n"
        running.cancel()
    assert files(tmp_path).keys() == set(others)


async def test_a_link_that_another_user_planted_is_not_followed(tmp_path: Path) -> None:
    directory, target = tmp_path / "hosts", tmp_path / "target"
    directory.mkdir()
    target.write_text("precious")
    async with session(directory) as opened:
        await opened.put(key("a"), [WIKI])
        (path,) = directory.iterdir()
        path.unlink()
        for name in (path.name, f".{path.name}.new"):
            (directory / name).symlink_to(target)
        await opened.put(key("a"), [named("a", "wiki.internal", "192.0.2.7")])
        assert content(directory) == "192.0.2.7 wiki.internal\n"
    assert target.read_text() == "precious"


async def test_a_missing_directory_is_lost_and_named(tmp_path: Path) -> None:
    with pytest.raises(ProviderLost, match="not a directory"):
        async with session(tmp_path / "none"):
            raise AssertionError("it opens")


async def test_a_directory_that_goes_refuses_the_record(tmp_path: Path) -> None:
    directory = tmp_path / "hosts"
    directory.mkdir()
    async with session(directory) as opened:
        directory.rmdir()
        with pytest.raises(ProviderRefused, match="No such file"):
            await opened.put(key("a"), [WIKI])


async def test_files_that_cannot_be_removed_are_logged(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    directory = tmp_path / "hosts"
    directory.mkdir()
    async with session(directory) as opened:
        await opened.put(key("a"), [WIKI])
        replace_by_directory(directory / next(iter(files(directory))))
    assert f"HostsDirectory={directory}: a file can't be removed" in caplog.text
