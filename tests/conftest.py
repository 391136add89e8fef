"""Rules for every test: nothing is left behind, and nothing that CI requires is skipped."""

import asyncio
import fcntl
import gc
import inspect
import os
import tempfile
from collections.abc import AsyncIterator, Generator, Iterator
from contextlib import suppress
from pathlib import Path
from typing import NoReturn

import pluggy
import pytest

HERE = Path(__file__).parent
LOCK = Path(tempfile.gettempdir(), f"koi-runtime-tests-{os.geteuid()}.lock")
"""The lock of tests with the mark ``one_at_a_time``."""
REAL_TIMEOUT = 240
"""Seconds for a test of ``tests/real``: systemd, Docker and Avahi need many processes each."""
SLOWEST_FIRST = ("test_linters.py", "system", "real", "http", "bus", "runtimes")
"""Parallel processes end together if the long tests do not come last."""
DEBUGGED = ("unit",)
"""Where event loops are in debug mode. It finds calls from another thread. It adds two thirds to
the processor time of tests that send much over sockets."""


def pytest_configure(config: pytest.Config) -> None:
    """Run property tests without time limits: a busy machine must not fail them."""
    if config.pluginmanager.hasplugin("hypothesispytest"):
        from hypothesis import HealthCheck, settings  # noqa: PLC0415 - not all suites have it

        settings.register_profile(
            "patient", deadline=None, suppress_health_check=[HealthCheck.too_slow]
        )
        settings.load_profile("patient")


def require(runtime: str, reason: str) -> NoReturn:
    """Skip a test whose runtime is missing, or fail it if ``KOI_TEST_REQUIRE`` names it."""
    if runtime in os.environ.get("KOI_TEST_REQUIRE", "").split(","):
        pytest.fail(f"{runtime} is required: {reason}", pytrace=False)
    pytest.skip(f"{runtime}: {reason}")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Set the time limit of tests with real runtimes, and put the slowest tests first."""
    for item in items:
        if folder(item) == "real" and item.get_closest_marker("timeout") is None:
            item.add_marker(pytest.mark.timeout(REAL_TIMEOUT))
    order = {name: number for number, name in enumerate(SLOWEST_FIRST)}
    items.sort(key=lambda item: order.get(folder(item), len(order)))


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    """Run tests with the mark ``one_at_a_time`` one after the other, in all runs on this host.

    The time limit of a test starts when its turn comes.
    """
    if item.get_closest_marker("one_at_a_time") is None:
        return (yield)
    # The lock ends with the open file: a process that is killed holds up no other.
    with LOCK.open("ab") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        return (yield)


@pytest.hookimpl(hookwrapper=True)
def pytest_report_to_serializable() -> Generator[None, pluggy.Result[object], None]:
    """Escape lone surrogates in captured texts: parallel processes send reports as UTF-8."""
    outcome = yield
    outcome.force_result(encodable(outcome.get_result()))


def encodable(value: object) -> object:
    """Return a value of JSON with lone surrogates escaped in all its strings."""
    if isinstance(value, str):
        return value.encode("utf-8", "backslashreplace").decode()
    if isinstance(value, dict):
        return {encodable(key): encodable(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [encodable(inner) for inner in value]
    if isinstance(value, tuple):  # pytest expects the place of a skip as a tuple
        return tuple(map(encodable, value))
    return value


def folder(item: pytest.Item) -> str:
    """Return the part of ``tests`` that a test belongs to: a folder or a file."""
    return item.path.relative_to(HERE).parts[0]


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
async def no_task_left(request: pytest.FixtureRequest) -> AsyncIterator[None]:
    """Fail a test whose loop has more to do when it ends."""
    asyncio.get_running_loop().set_debug(folder(request.node) in DEBUGGED)
    yield
    left = asyncio.all_tasks() - {asyncio.current_task()}
    assert not left, f"tasks left behind: {left}"


@pytest.fixture
def leak_check() -> Iterator[None]:
    """Fail a test that leaves a file or a socket open."""
    before = open_files()
    yield
    if open_files() - before:
        gc.collect()  # objects that only a cycle holds are not leaked
    left = open_files() - before
    assert not left, f"left open: {sorted(left)}"


def children() -> set[str]:
    """Return PID and name of each child process of this process."""
    found: set[str] = set()
    for thread in Path("/proc/self/task").iterdir():
        with suppress(FileNotFoundError):  # a thread or a child has just ended
            for pid in thread.joinpath("children").read_text().split():
                found.add(f"{pid} {Path(f'/proc/{pid}/comm').read_text().strip()}")
    return found


def open_files() -> set[str]:
    """Return descriptor and target of each open file; the target of a socket is unique."""
    found: set[str] = set()
    for entry in Path("/proc/self/fd").iterdir():
        if entry.is_symlink():  # not the descriptor of this listing, which is closed again
            found.add(f"{entry.name} {entry.readlink()}")
    return found
