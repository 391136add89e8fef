"""Notifications, watchdog and socket activation with a real manager."""

import asyncio
import contextlib
import socket
import sys
from pathlib import Path

import pytest

from tests.real.agents import eventually, on_manager
from tests.world import World

pytestmark = pytest.mark.usefixtures("leak_check")

SCRIPT = """
import asyncio, os, sys, time
from koi_agent.host.notify import Notifier, extending
from koi_agent.host.sockets import STREAMS, passed
from koi_agent.host.watchdog import Watchdog, interval

def check():
    return stuck

async def main():
    global stuck
    notifier = Notifier(os.environ)
    watchdog = Watchdog(notifier, interval(os.environ), check)
    listeners = passed(os.environ, {"http": STREAMS}).get("http", [])
    async with asyncio.TaskGroup() as group:
        group.create_task(watchdog.run())
        await act(notifier, listeners)
        await asyncio.Event().wait()

stuck = ""
"""
HEALTHY = """
async def act(notifier, listeners):
    notifier.ready("healthy")
"""


@pytest.fixture
def unit(world: World) -> "Unit":
    return Unit(world)


class Unit:
    """The service under test; ``act`` is the code that it runs."""

    def __init__(self, world: World) -> None:
        self.world = world
        self._number = 0

    async def start(self, act: str, settings: str = "", *, check: bool = True) -> None:
        script = self.world.home / "life.py"
        script.write_text(f"{SCRIPT}{act}\nasyncio.run(main())\n")
        self.world.unit(
            "life.service",
            "[Unit]\nStartLimitIntervalSec=0\n[Service]\nType=notify\nRestart=on-failure\n"
            f"RestartSec=50ms\nExecStart={sys.executable} {script}\n"
            f"Environment=PYTHONPATH={self.world.environment['PYTHONPATH']}\n{settings}",
        )
        await on_manager(self.world, "daemon-reload")
        await asyncio.to_thread(self.world.systemctl, "start", "life.service", check=check)

    def shown(self, name: str) -> str:
        shown = self.world.systemctl("show", f"--property={name}", "--value", "life.service")
        return shown.stdout.removesuffix("\n")

    async def is_restarted(self) -> None:
        """Wait until the manager has restarted it."""
        await eventually(lambda: self.shown("NRestarts") != "0", "a restart")


async def test_status_and_its_text_arrive(unit: Unit) -> None:
    await unit.start(
        "async def act(notifier, listeners): notifier.ready('2 instances: café 漢字 🎏 \\ufffe')\n"
    )
    assert unit.shown("ActiveState") == "active"
    assert unit.shown("StatusText") == "2 instances: café 漢字 🎏 \ufffd"


async def test_last_status_of_a_thousand_arrives(unit: Unit) -> None:
    await unit.start("""
async def act(notifier, listeners):
    notifier.ready("early")
    for number in range(1000):
        notifier.status(f"{number} instances")
""")
    assert unit.shown("ActiveState") == "active"
    await eventually(lambda: unit.shown("StatusText") == "999 instances", "the last status")


@pytest.mark.parametrize("text", ["end\\", r"a\x0ab", r"C:\\dir", "a\nREADY=0", "'quoted\""])
async def test_no_text_removes_the_variable_after_it(unit: Unit, text: str) -> None:
    await unit.start(f"async def act(notifier, listeners): notifier.ready({text!r})\n")
    assert unit.shown("ActiveState") == "active"
    assert unit.shown("StatusText") == text.replace("\n", r"\x0a")


async def test_longest_status_arrives(unit: Unit) -> None:
    await unit.start("""
async def act(notifier, listeners):
    notifier.failed("\\u2028" * 9999, errno=5, bus_error="\\u2028" * 9999)
    notifier.ready("\\u2028" * 9999)
""")
    assert unit.shown("StatusText") == "\\u2028" * 255 + "…"
    assert unit.shown("StatusErrno") == "5"


async def test_healthy_service_is_not_restarted(unit: Unit) -> None:
    await unit.start(HEALTHY, "WatchdogSec=4s\n")
    began = int(unit.shown("ActiveEnterTimestampMonotonic"))

    def pinged_at() -> int:
        return int(unit.shown("WatchdogTimestampMonotonic"))

    await eventually(lambda: pinged_at() - began > 10_000_000, "pings for 10 s")
    assert (unit.shown("NRestarts"), unit.shown("ActiveState")) == ("0", "active")


@pytest.mark.parametrize(
    "trouble",
    ["time.sleep(3600)", "global stuck; stuck = 'the registry does not answer'"],
    ids=["blocked loop", "stuck check"],
)
async def test_service_that_is_stuck_is_restarted(unit: Unit, trouble: str) -> None:
    act = f"async def act(notifier, listeners):\n    notifier.ready('fine')\n    {trouble}\n"
    await unit.start(act, "WatchdogSec=1s\n")
    await unit.is_restarted()
    assert unit.shown("Result") in ("success", "watchdog")


async def test_stopped_process_is_restarted(unit: Unit) -> None:
    await unit.start(HEALTHY, "WatchdogSec=1s\n")
    await on_manager(unit.world, "kill", "--signal=STOP", "life.service")
    await unit.is_restarted()


async def test_slow_start_extends_its_timeout(unit: Unit) -> None:
    await unit.start(
        """
async def act(notifier, listeners):
    with extending(notifier, by=6, most=60):
        await asyncio.sleep(9)
    notifier.ready("at last")
""",
        "TimeoutStartSec=8s\n",
    )
    assert (unit.shown("NRestarts"), unit.shown("StatusText")) == ("0", "at last")


async def test_reload_is_shown_until_it_ends(unit: Unit) -> None:
    await unit.start("""
async def act(notifier, listeners):
    notifier.ready("before")
    await asyncio.sleep(0)
    notifier.reloading("reading again")
    while not os.path.exists(os.path.expanduser("~/seen")):
        await asyncio.sleep(0.05)
    notifier.ready("after")
""")
    await eventually(lambda: unit.shown("ActiveState") == "reloading", "the reload")
    assert unit.shown("StatusText") == "reading again"
    (unit.world.home / "seen").touch()
    await eventually(lambda: unit.shown("ActiveState") == "active", "its end")
    assert unit.shown("StatusText") == "after"


async def test_failure_is_reported_by_a_service_that_ends_at_once(unit: Unit) -> None:
    await unit.start(
        """
async def act(notifier, listeners):
    notifier.failed("name taken", errno=98, bus_error="org.freedesktop.DBus.Error.AddressInUse")
    notifier.close()
    os._exit(75)
""",
        "Restart=no\n",
        check=False,
    )
    assert unit.shown("ExecMainStatus") == "75"
    assert (unit.shown("StatusText"), unit.shown("StatusErrno")) == ("name taken", "98")


async def test_request_on_the_socket_starts_the_service_and_is_answered(unit: Unit) -> None:
    world = unit.world
    world.unit(
        "life.socket",
        "[Socket]\nListenStream=%t/life/http.sock\nFileDescriptorName=http\nSocketMode=0666\n",
    )
    await unit.start(
        """
async def act(notifier, listeners):
    (listener,) = listeners
    notifier.ready("listening")
    while True:
        connection, _ = await asyncio.get_running_loop().sock_accept(listener)
        names = [name for name in os.environ if "LISTEN" in name or "NOTIFY" in name]
        connection.sendall(repr((str(listener.getsockname()), names)).encode())
        connection.close()
""",
        "Sockets=life.socket\n",
    )
    await on_manager(world, "stop", "life.service")
    for _ in range(2):
        assert unit.shown("ActiveState") == "inactive"
        answer = await asyncio.to_thread(asked, path_of_socket(world))
        assert answer == "('/run/user/0/life/http.sock', [])"
        assert unit.shown("ActiveState") == "active"
        await on_manager(world, "stop", "life.service")
        assert socket_is_there(world)


def path_of_socket(world: World) -> Path:
    return Path(f"/proc/{world.pid}/root/run/user/0/life/http.sock")


def socket_is_there(world: World) -> bool:
    return path_of_socket(world).is_socket()


def asked(path: Path) -> str:
    with contextlib.closing(socket.socket(socket.AF_UNIX)) as client:
        client.settimeout(10)
        client.connect(str(path))
        return client.recv(1000).decode()


async def test_agent_started_by_hand_leaves_the_managers_socket_alone(unit: Unit) -> None:
    world = unit.world
    world.unit("life.socket", "[Socket]\nListenStream=%t/life/http.sock\n")
    world.unit("life.service", "[Service]\nExecStart=/bin/sleep 100\n")
    await on_manager(world, "start", "life.socket")
    by_hand = """
from pathlib import Path
from koi_agent.host.sockets import NoSocket, own_unix
try:
    with own_unix(Path("/run/user/0/life/http.sock"), mode=0o666):
        print("taken")
except NoSocket as trouble:
    print(trouble)
"""
    done = await asyncio.to_thread(world.run, sys.executable, "-c", by_hand)
    assert "/run/user/0/life/http.sock: another process" in done.stdout
    assert "stop koi-runtime.socket" in done.stdout
    show = ("show", "--property=SubState", "life.socket", "life.service")
    await eventually(
        lambda: world.systemctl(*show).stdout.split() == ["SubState=running"] * 2,
        "connecting starts it",
    )
    assert socket_is_there(world)
