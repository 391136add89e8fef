"""Watchdog pings and what withholds them, over a real socket."""

import asyncio
import logging
import os
import socket
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from koi_agent.host.notify import Notifier
from koi_agent.host.watchdog import Watchdog, interval

pytestmark = pytest.mark.usefixtures("leak_check")


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.bind(str(tmp_path / "notify"))
        listening.settimeout(0)
        yield listening


@pytest.fixture
def notifier(tmp_path: Path, manager: socket.socket) -> Iterator[Notifier]:
    made = Notifier({"NOTIFY_SOCKET": str(tmp_path / "notify")})
    assert pings(manager) == 0
    yield made
    made.close()


def pings(manager: socket.socket) -> int:
    """Return the number of pings since the last call."""
    count = 0
    try:
        while True:
            assert manager.recv(4096) == b"WATCHDOG=1"
            count += 1
    except BlockingIOError:
        return count


@asynccontextmanager
async def watched(
    notifier: Notifier, period: float, check: Callable[[], str]
) -> AsyncIterator[None]:
    async with asyncio.TaskGroup() as group:
        running = group.create_task(Watchdog(notifier, period, check).run())
        yield
        running.cancel()


async def test_pings_are_sent_at_once_and_every_half_period(
    manager: socket.socket, notifier: Notifier
) -> None:
    async with watched(notifier, 0.2, str):
        await asyncio.sleep(0.01)
        assert pings(manager) == 1
        await asyncio.sleep(0.54)
    assert pings(manager) == 5


async def test_delays_of_a_busy_loop_do_not_add_up(
    manager: socket.socket, notifier: Notifier
) -> None:
    def check() -> str:
        time.sleep(0.06)  # every ping comes so much later
        return ""

    async with watched(notifier, 0.3, check):
        await asyncio.sleep(1.3)
    assert 8 <= pings(manager) <= 9, "added up, there would be 7"


async def test_blocked_loop_sends_one_ping_afterwards(
    manager: socket.socket, notifier: Notifier
) -> None:
    async with watched(notifier, 0.2, str):
        await asyncio.sleep(0.05)
        time.sleep(0.5)  # noqa: ASYNC251 - the stall
        pings(manager)
        await asyncio.sleep(0.05)
        assert pings(manager) == 1
        await asyncio.sleep(0.1)
        assert pings(manager) == 1


async def test_no_ping_is_sent_while_something_is_stuck_and_each_reason_is_logged_once(
    manager: socket.socket, notifier: Notifier, caplog: pytest.LogCaptureFixture
) -> None:
    stuck = ""
    async with watched(notifier, 0.2, lambda: stuck):
        await asyncio.sleep(0.01)
        assert pings(manager) == 1
        stuck = "the registry does not answer"
        await asyncio.sleep(0.2)
        stuck = "docker overran its deadline"
        await asyncio.sleep(0.2)
        assert pings(manager) == 0
        told = [record.getMessage() for record in caplog.records if record.levelno == logging.ERROR]
        assert ["registry" in text for text in told] == [True, False]
        assert "docker overran" in told[1]
        assert "0.2 s" in told[0]
        stuck = ""
        await asyncio.sleep(0.02)
        assert pings(manager) == 1, (
            "a recovery is followed by a ping before half a period has passed"
        )
        await asyncio.sleep(0.1)
        assert pings(manager) == 1
    assert "no longer stuck" in caplog.records[-1].getMessage()


async def test_check_that_raises_ends_the_watchdog(
    manager: socket.socket, notifier: Notifier
) -> None:
    def check() -> str:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await Watchdog(notifier, 1, check).run()
    assert pings(manager) == 0


async def test_watchdog_ends_at_once_if_systemd_expects_no_pings(
    manager: socket.socket, notifier: Notifier
) -> None:
    await Watchdog(notifier, None, str).run()
    assert pings(manager) == 0


OURS = str(os.getpid())


@pytest.mark.parametrize(
    ("environment", "seconds"),
    [
        ({}, None),
        ({"WATCHDOG_PID": OURS}, None),
        ({"WATCHDOG_USEC": "30000000"}, 30.0),
        ({"WATCHDOG_USEC": "1500000", "WATCHDOG_PID": OURS}, 1.5),
        ({"WATCHDOG_USEC": "1500000", "WATCHDOG_PID": "1"}, None),
        ({"WATCHDOG_USEC": "", "WATCHDOG_PID": OURS}, None),
    ],
)
def test_interval_is_that_of_this_process(
    environment: dict[str, str], seconds: float | None, caplog: pytest.LogCaptureFixture
) -> None:
    environment["OTHER"] = "stays"
    assert interval(environment) == seconds
    assert environment == {"OTHER": "stays"}
    assert caplog.messages == []


@pytest.mark.parametrize(
    "value",
    ["0", "-1", "1.5", "3s", " 1", "1_0", "٣", str(2**64 - 1), str(2**64), "9" * 5000, "\x1b[31m"],
)
def test_bad_interval_is_logged_and_none(value: str, caplog: pytest.LogCaptureFixture) -> None:
    assert interval({"WATCHDOG_USEC": value}) is None
    (told,) = caplog.messages
    assert told.startswith("WATCHDOG_USEC=")
    assert len(told) < 200
    assert "\x1b" not in told


@pytest.mark.parametrize("value", ["-1", "me", "9" * 5000])
def test_bad_process_number_is_logged_and_ignored(
    value: str, caplog: pytest.LogCaptureFixture
) -> None:
    assert interval({"WATCHDOG_USEC": "1000000", "WATCHDOG_PID": value}) == 1.0
    (told,) = caplog.messages
    assert told.startswith("WATCHDOG_PID=")
