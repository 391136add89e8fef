"""Notifications to a manager over real datagram sockets: read, not read, gone and replaced."""

import asyncio
import logging
import os
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import sdnotify  # type: ignore[import-untyped]

from koi_agent.host.notify import LAST_WORDS, Notifier, extending
from tests.costs import used
from tests.unit.virtual_time import in_virtual_time

pytestmark = pytest.mark.usefixtures("leak_check")

FULL = int(Path("/proc/sys/net/unix/max_dgram_qlen").read_text()) + 1
"""Datagrams that the kernel keeps for one that does not read, at most."""


def manager_at(address: str) -> socket.socket:
    manager = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    manager.bind(address)
    manager.settimeout(2)
    return manager


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "notify"


@pytest.fixture
def manager(path: Path) -> Iterator[socket.socket]:
    with manager_at(str(path)) as listening:
        yield listening


@pytest.fixture
def notifier(path: Path, manager: socket.socket) -> Iterator[Notifier]:
    made = Notifier({"NOTIFY_SOCKET": str(path)})
    yield made
    made.close()


def heard(manager: socket.socket) -> list[str]:
    """Read one datagram; returns its variables in order."""
    return manager.recv(4097).decode().split("\n")


def all_heard(manager: socket.socket) -> list[list[str]]:
    """Read all datagrams that have arrived."""
    manager.settimeout(0)
    found: list[list[str]] = []
    try:
        while True:
            found.append(heard(manager))
    except BlockingIOError:
        return found
    finally:
        manager.settimeout(2)


def fill(notifier: Notifier) -> None:
    """Send as many notifications as the kernel queues, and one more."""
    for number in range(FULL + 1):
        notifier.status(f"filling {number}")


def test_each_variable_is_written_as_systemd_parses_it(
    manager: socket.socket, notifier: Notifier
) -> None:
    notifier.ready("2 instances")
    assert heard(manager) == ["STATUS=2 instances", "READY=1"]
    before = time.monotonic_ns() // 1000
    notifier.reloading("reading again")
    status, reloading, moment = heard(manager)
    assert (status, reloading) == ("STATUS=reading again", "RELOADING=1")
    assert before <= int(moment.removeprefix("MONOTONIC_USEC=")) <= time.monotonic_ns() // 1000
    notifier.extend(2.5)
    assert heard(manager) == ["EXTEND_TIMEOUT_USEC=2500000"]
    notifier.alive()
    assert heard(manager) == ["WATCHDOG=1"]
    notifier.stopping("withdrawing")
    assert heard(manager) == ["STATUS=withdrawing", "STOPPING=1"]
    notifier.failed("no bus", errno=111, bus_error="org.freedesktop.DBus.Error.NoServer")
    bus_error = "BUSERROR=org.freedesktop.DBus.Error.NoServer"
    assert heard(manager) == ["STATUS=no bus", "ERRNO=111", bus_error]
    notifier.failed("bad config")
    assert heard(manager) == ["STATUS=bad config"]


def test_unchanged_status_is_sent_once(manager: socket.socket, notifier: Notifier) -> None:
    for text in ("one", "one", "two", "two"):
        notifier.status(text)
    notifier.ready("three")
    notifier.status("three")
    words = [["STATUS=one"], ["STATUS=two"], ["STATUS=three", "READY=1"]]
    assert all_heard(manager) == words


@pytest.mark.parametrize("text", ["café 漢字 🎏", "é"])
def test_text_in_any_script_arrives(manager: socket.socket, notifier: Notifier, text: str) -> None:
    notifier.ready(text)
    assert heard(manager) == [f"STATUS={text}", "READY=1"]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("a\nREADY=1", r"a\\x0aREADY=1"),
        ("a\r\x1b[31m\x00b", r"a\\x0d\\x1b[31m\\x00b"),
        ("a\\", "a\\\\"),
        ("lone \udcff", r"lone \\udcff"),
        ("no \ufdd0\ufffe\U0010ffff character", "no \ufffd\ufffd\ufffd character"),
        ("x" * 5000, "x" * 255 + "…"),
    ],
    ids=["newline", "escapes", "backslash", "surrogate", "noncharacters", "long"],
)
def test_text_stays_one_variable(
    manager: socket.socket, notifier: Notifier, text: str, told: str
) -> None:
    notifier.status(text)
    assert heard(manager) == [f"STATUS={told}"]
    notifier.failed("x", bus_error=text)
    assert heard(manager) == ["STATUS=x", f"BUSERROR={told}"]


@pytest.mark.parametrize("character", ["\n", "\u2028", "🎏", "é"])
def test_longest_variables_fit_into_one_datagram(
    manager: socket.socket, notifier: Notifier, character: str
) -> None:
    notifier.failed(character * 9999, errno=2**31 - 1, bus_error=character * 9999)
    assert len(manager.recv(65536)) <= 4096


def test_abstract_socket_is_notified(path: Path) -> None:
    with manager_at(f"\0{path}") as manager:
        notifier = Notifier({"NOTIFY_SOCKET": f"@{path}"})
        notifier.ready("here")
        assert heard(manager) == ["STATUS=here", "READY=1"]
        notifier.close()


def test_address_is_not_passed_to_children(path: Path, manager: socket.socket) -> None:
    environment = {"NOTIFY_SOCKET": str(path), "OTHER": "stays"}
    notifier = Notifier(environment)
    assert environment == {"OTHER": "stays"}
    assert "NOTIFY_SOCKET" not in os.environ
    notifier.close()


def say_everything(notifier: Notifier) -> None:
    notifier.ready("a")
    notifier.status("b")
    notifier.reloading("c")
    notifier.extend(1)
    notifier.alive()
    notifier.stopping("d")
    notifier.failed("e", errno=1, bus_error="f")
    notifier.close()
    notifier.close()
    notifier.ready("after the end")


@pytest.mark.parametrize("address", ["", "vsock:2:1234", "relative", "@", "@no such", "/no/such"])
def test_without_a_manager_nothing_raises(address: str, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    say_everything(Notifier({"NOTIFY_SOCKET": address} if address else {}))
    assert len(caplog.messages) == bool(address)


@pytest.mark.parametrize("length", [107, 108, 5000])
def test_address_of_any_length_raises_nothing(
    tmp_path: Path, length: int, caplog: pytest.LogCaptureFixture
) -> None:
    say_everything(Notifier({"NOTIFY_SOCKET": str(tmp_path).ljust(length, "x")}))
    assert len(caplog.messages) == 1


def test_socket_that_refuses_is_logged(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    manager_at(str(path)).close()
    say_everything(Notifier({"NOTIFY_SOCKET": str(path)}))
    (told,) = caplog.messages
    assert f"NOTIFY_SOCKET=: can't connect: {path}" in told
    assert "refused" in told


def test_variables_for_a_manager_that_is_gone_reach_its_successor(
    path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with manager_at(str(path)):
        notifier = Notifier({"NOTIFY_SOCKET": str(path)})
    notifier.ready("not read")
    path.unlink()
    notifier.alive()
    notifier.alive()
    assert [record.levelno for record in caplog.records] == [logging.WARNING]
    with manager_at(str(path)) as next_one:
        notifier.status("all of it")
        assert heard(next_one) == ["READY=1", "WATCHDOG=1", "STATUS=all of it"]
        notifier.alive()
        assert heard(next_one) == ["WATCHDOG=1"]
    notifier.close()


async def test_manager_that_does_not_read_blocks_nothing_and_gets_the_last_values(
    manager: socket.socket, notifier: Notifier
) -> None:
    with used() as use:
        fill(notifier)
        notifier.ready("early")
        notifier.alive()
        for number in range(1000):
            notifier.status(f"{number} instances")
    assert use.waits < 100
    await asyncio.sleep(0.01)
    before = [words for words in all_heard(manager) if not words[0].startswith("STATUS=filling")]
    assert before == []
    await asyncio.sleep(0.05)
    assert all_heard(manager) == [["READY=1", "WATCHDOG=1", "STATUS=999 instances"]]
    notifier.status("and on")
    assert heard(manager) == ["STATUS=and on"]


async def test_pending_variables_do_not_wake_the_loop(
    manager: socket.socket, notifier: Notifier
) -> None:
    fill(notifier)
    with used() as use:
        await asyncio.sleep(0.3)
    assert use.share < 0.3
    all_heard(manager)
    await asyncio.sleep(0.05)
    assert all_heard(manager) == [[f"STATUS=filling {FULL}"]]


async def test_manager_that_goes_while_variables_are_pending_does_not_wake_the_loop(
    manager: socket.socket, notifier: Notifier
) -> None:
    fill(notifier)
    manager.close()
    with used() as use:
        await asyncio.sleep(0.3)
    assert use.share < 0.3


@pytest.mark.parametrize("first", ["ready", "reloading"])
async def test_reload_and_its_end_are_sent_in_order(
    manager: socket.socket, notifier: Notifier, first: str
) -> None:
    fill(notifier)
    if first == "ready":
        notifier.ready("before")
    notifier.reloading("reading")
    if first == "reloading":
        notifier.ready("after")
    all_heard(manager)
    await asyncio.sleep(0.05)
    (words,) = all_heard(manager)
    told = [word for word in words if word in ("READY=1", "RELOADING=1")]
    assert told == (["RELOADING=1"] if first == "ready" else ["RELOADING=1", "READY=1"])


async def test_close_waits_for_a_manager_that_reads_late(
    manager: socket.socket, notifier: Notifier
) -> None:
    fill(notifier)
    notifier.failed("name taken", bus_error="org.freedesktop.DBus.Error.AddressInUse")

    def read_late() -> list[list[str]]:
        time.sleep(0.1)
        return all_heard(manager)

    async with asyncio.TaskGroup() as group:
        reading = group.create_task(asyncio.to_thread(read_late))
        await asyncio.sleep(0)
        notifier.close()
    words = [*reading.result(), *all_heard(manager)][-1]
    assert words == ["STATUS=name taken", "BUSERROR=org.freedesktop.DBus.Error.AddressInUse"]


@pytest.mark.usefixtures("manager")
def test_close_waits_for_a_limited_time(notifier: Notifier) -> None:
    fill(notifier)
    with used() as use:
        notifier.close()
    assert use.elapsed >= LAST_WORDS


def test_variables_after_the_loop_are_sent_by_close(
    manager: socket.socket, notifier: Notifier
) -> None:
    async def work() -> None:
        fill(notifier)

    asyncio.run(work())
    notifier.failed("ended")
    all_heard(manager)
    notifier.close()
    assert all_heard(manager) == [["STATUS=ended"]]


@in_virtual_time
async def test_slow_work_extends_the_timeout_until_it_is_done(
    manager: socket.socket, notifier: Notifier
) -> None:
    with extending(notifier, by=0.2, most=60):
        await asyncio.sleep(0.37)
    assert all_heard(manager) == [["EXTEND_TIMEOUT_USEC=200000"]] * 3
    await asyncio.sleep(0.25)
    assert all_heard(manager) == []


@in_virtual_time
async def test_fast_work_does_not_extend_the_timeout(
    manager: socket.socket, notifier: Notifier
) -> None:
    with extending(notifier, by=0.2, most=60):
        await asyncio.sleep(0.02)
    with pytest.raises(ZeroDivisionError), extending(notifier, by=0.2, most=60):
        raise ZeroDivisionError
    await asyncio.sleep(0.15)
    assert all_heard(manager) == []


@in_virtual_time
async def test_work_that_hangs_is_not_extended_forever(
    manager: socket.socket, notifier: Notifier, caplog: pytest.LogCaptureFixture
) -> None:
    with extending(notifier, by=0.2, most=0.35):
        await asyncio.sleep(60)
    assert all_heard(manager) == [["EXTEND_TIMEOUT_USEC=200000"]] * 3
    assert [record.getMessage() for record in caplog.records] == [
        "start or stop: not done after 0.35 s: this is a bug; systemd may kill the agent"
    ]


def test_library_has_what_is_used_of_it(path: Path, manager: socket.socket) -> None:
    """Check what a newer library must still have: ``debug``, ``socket`` and Latin-1 encoding."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("NOTIFY_SOCKET", str(path))
        door = sdnotify.SystemdNotifier(debug=True)
    with door.socket, pytest.raises(UnicodeEncodeError):
        door.notify("漢")
    assert all_heard(manager) == []
