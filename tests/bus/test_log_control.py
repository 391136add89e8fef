"""systemd's LogControl1 over a real bus: access, and errors for unknown words."""

import asyncio
import logging
import re
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from koi_agent.bus.client import CallError, Connection, connected
from koi_agent.bus.interfaces import interface
from koi_agent.bus.variants import Variant
from koi_agent.host.logs import LogOutput
from koi_agent.publishers.dbus.log_control import LOG_CONTROL
from koi_agent.publishers.dbus.tree import Tree
from tests.bus.small_tree import NAME, busctl, served
from tests.bus.test_polkit import NOBODY, Polkit, playing
from tests.world.bus import PrivateBus

LOG_CONTROL1 = "org.freedesktop.LogControl1"
PROPERTIES = "org.freedesktop.DBus.Properties"
ROOT = "/org/sylin/koi/Runtime1"
OBJECT = NAME, LOG_CONTROL, LOG_CONTROL1


@pytest.fixture
def output() -> Iterator[LogOutput]:
    with LogOutput(logging.INFO, "null", {}) as made:
        yield made


@asynccontextmanager
async def control(bus: PrivateBus, output: LogOutput) -> AsyncIterator[Connection]:
    """Serve the agent's objects, with nothing to show but its log."""
    manager = interface("org.sylin.koi.Runtime1.Manager")
    tree = Tree(manager, lambda: None, dict, dict, output)  # type: ignore[arg-type, return-value]
    async with (
        served(bus.address, tree),
        connected(bus.address) as link,
    ):
        yield link


async def put(link: Connection, member: str, signature: str, value: Any) -> None:
    body = (LOG_CONTROL1, member, Variant(signature, value))
    await link.call((NAME, LOG_CONTROL, PROPERTIES), "Set", "ssv", body, within=5)


async def nobody(address: str, *arguments: str) -> tuple[int, str]:
    """Run busctl as an unprivileged user."""
    process = await asyncio.create_subprocess_exec(
        "busctl",
        f"--address={address}",
        *arguments,
        user=NOBODY,
        group=NOBODY,
        extra_groups=[],
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    output, _ = await process.communicate()
    return process.returncode or 0, output.decode().strip()


async def test_own_user_can_read_and_set(bus: PrivateBus, output: LogOutput) -> None:
    async with control(bus, output):
        for member, before, after in (
            ("LogLevel", "info", "debug"),
            ("LogTarget", "null", "console"),
        ):
            get = ("get-property", *OBJECT, member)
            assert await busctl(bus.address, *get) == (0, f's "{before}"\n')
            put = ("set-property", *OBJECT, member, "s", after)
            assert await busctl(bus.address, *put) == (0, "")
            assert await busctl(bus.address, *get) == (0, f's "{after}"\n')
        get = ("get-property", *OBJECT, "SyslogIdentifier")
        assert await busctl(bus.address, *get) == (0, 's "koi-runtime"\n')
    assert logging.getLogger().level == logging.DEBUG


async def test_other_users_can_only_read(open_bus: PrivateBus, output: LogOutput) -> None:
    async with control(open_bus, output):
        read = await nobody(open_bus.address, "get-property", *OBJECT, "LogLevel")
        assert read == (0, 's "info"')
        put = ("set-property", *OBJECT, "LogLevel", "s", "debug")
        code, said = await nobody(open_bus.address, *put)
        assert code
        assert said.endswith("Access denied")
    assert output.level == "info"


async def test_polkit_decides_for_other_users(open_bus: PrivateBus, output: LogOutput) -> None:
    polkit = Polkit(allowed=True)
    async with (
        control(open_bus, output),
        playing(open_bus.address, polkit),
    ):
        put = ("set-property", *OBJECT, "LogLevel", "s", "err")
        assert await nobody(open_bus.address, *put) == (0, "")
    assert output.level == "err"
    ((_, action, *_),) = polkit.asked
    assert action == "org.sylin.koi.Runtime1.set-log-level"


@pytest.mark.parametrize(
    ("member", "signature", "value", "error"),
    [
        ("LogLevel", "s", "loud", "InvalidArgs: log level: unknown: 'loud'; use emerg, alert"),
        ("LogLevel", "s", "7", "InvalidArgs"),
        ("LogLevel", "s", "", "InvalidArgs"),
        ("LogLevel", "u", 7, "InvalidArgs: LogLevel has the type 's', not 'u'"),
        ("LogTarget", "s", "kmsg", "InvalidArgs: not a log target: 'kmsg'; use auto, journal, "),
        ("SyslogIdentifier", "s", "x", "PropertyReadOnly"),
        ("None", "s", "x", "UnknownProperty"),
    ],
)
async def test_invalid_value_is_an_error_and_changes_nothing(
    bus: PrivateBus, output: LogOutput, member: str, signature: str, value: Any, error: str
) -> None:
    async with control(bus, output) as link:
        with pytest.raises(CallError, match=re.escape(error)):
            await put(link, member, signature, value)
    assert (output.level, output.target) == ("info", "null")


async def test_object_is_outside_the_root_object(bus: PrivateBus, output: LogOutput) -> None:
    async with control(bus, output) as link:
        _, tree = await busctl(bus.address, "tree", "--list", NAME)
        assert {LOG_CONTROL, ROOT, "/org/freedesktop", "/org/sylin"} < set(tree.split())
        managed = "org.freedesktop.DBus.ObjectManager", "GetManagedObjects"
        assert await link.call((NAME, ROOT, managed[0]), managed[1]) == [{}]
        for path in (LOG_CONTROL, "/org/freedesktop"):
            with pytest.raises(CallError, match="UnknownInterface"):
                await link.call((NAME, path, managed[0]), managed[1])
        _, shown = await busctl(bus.address, "introspect", NAME, LOG_CONTROL, LOG_CONTROL1)
        flags = {line.split()[0]: line.split()[3:] for line in shown.splitlines()[1:]}
        assert flags == {
            ".LogLevel": ['"info"', "writable"],
            ".LogTarget": ['"null"', "writable"],
            ".SyslogIdentifier": ['"koi-runtime"', "-"],
        }
