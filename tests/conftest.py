"""What every test is held to: nothing left behind, and no silent skip where CI asked for more."""

import asyncio
import gc
import inspect
import os
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import NoReturn

import pytest

REAL_TIMEOUT = 120


def require(runtime: str, reason: str) -> NoReturn:
    """Give up on a test whose runtime is missing: a failure where CI asked for that runtime."""
    if runtime in os.environ.get("KOI_TEST_REQUIRE", "").split(","):
        pytest.fail(f"{runtime} is required: {reason}", pytrace=False)
    pytest.skip(f"{runtime}: {reason}")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Give real runtimes the time that they need."""
    real = Path(__file__).with_name("real")
    for item in items:
        if item.path.is_relative_to(real) and item.get_closest_marker("timeout") is None:
            item.add_marker(pytest.mark.timeout(REAL_TIMEOUT))


@pytest.fixture(autouse=True)
def nothing_left_running(request: pytest.FixtureRequest) -> Iterator[None]:
    """Fail a test that leaves a task or a child process behind."""
    before = children()
    if inspect.iscoroutinefunction(getattr(request.node, "obj", None)):
        request.getfixturevalue("no_task_left")
    yield
    left = children() - before
    assert not left, f"child processes left behind: {sorted(left)}"


@pytest.fixture
async def no_task_left() -> AsyncIterator[None]:
    """Fail a test whose loop has more to do when it ends."""
    yield
    left = asyncio.all_tasks() - {asyncio.current_task()}
    assert not left, f"tasks left behind: {left}"


@pytest.fixture
def leak_check() -> Iterator[None]:
    """Fail a test that leaves a file or a socket open."""
    before = open_files()
    yield
    gc.collect()  # what only a cycle holds is no leak
    left = open_files() - before
    assert not left, f"left open: {sorted(left)}"


def children() -> set[str]:
    """The numbers of our child processes, each with its name."""
    found: set[str] = set()
    for thread in Path("/proc/self/task").iterdir():
        for pid in thread.joinpath("children").read_text().split():
            found.add(f"{pid} {Path(f'/proc/{pid}/comm').read_text().strip()}")
    return found


def open_files() -> set[str]:
    """Our open files; a socket's name is unique, so a number used again is seen."""
    found: set[str] = set()
    for entry in Path("/proc/self/fd").iterdir():
        if entry.is_symlink():  # the folder's own descriptor is closed by now
            found.add(f"{entry.name} {entry.readlink()}")
    return found
