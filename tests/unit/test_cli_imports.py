"""A command loads what it needs: modules decide how long a command takes to start."""

import os
import subprocess
import sys
from collections.abc import Collection, Sequence
from importlib import import_module

import pytest

from koi_agent.cli.syntax import COMMANDS

NO_BUS = {
    "DBUS_SYSTEM_BUS_ADDRESS": "unix:path=/nonexistent/bus",
    "DBUS_SESSION_BUS_ADDRESS": "unix:path=/nonexistent/bus",
}
PROGRAM = """
import sys
from koi_agent.__main__ import main
before = set(sys.modules)
try:
    main()
except SystemExit:
    pass
print(*sys.modules)
"""
SLOW = (
    "aiodocker",
    "aiohttp",
    "argparse",
    "asyncio",
    "dbus_next",
    "ssl",
    "subprocess",
    "typing_extensions",
)
"""Libraries that take long to load; no single call needs one."""
AGENT = (
    "agent",
    "announce",
    "backends",
    "capabilities",
    "follow",
    "host",
    "process",
    "publishers",
    "services",
)
"""The agent's own parts, which no client needs."""
LIGHT = {
    "list": ("config", "core.schema", "core.instance", "cli.resolve"),
    "list --backend=docker --sort=name": ("core.schema", "cli.resolve"),
    "list -q": ("config", "core.schema", "core.instance", "cli.resolve"),
    "list web": ("config",),
    "list --json=short": ("config",),
    "announced": ("config",),
    "show web": ("config",),
    "explain web": ("config",),
    "status": ("config",),
    "reload": ("config", "core.schema", "core.instance", "cli.table"),
    "resync": ("config", "core.schema", "core.instance", "cli.table"),
}
"""The parts of koi_agent that a command line must not load, besides the agent's own."""


def loaded(*argv: str) -> Collection[str]:
    """Return the modules that a command line loads until it finds that there is no bus."""
    done = subprocess.run(
        [sys.executable, "-S", "-c", PROGRAM, *argv],
        capture_output=True,
        text=True,
        check=True,
        # Without site-packages: what an environment loads at its start is not ours.
        env=os.environ | NO_BUS | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
    )
    assert "Traceback" not in done.stderr
    return set(done.stdout.splitlines()[-1].split())


def among(modules: Collection[str], names: Sequence[str]) -> list[str]:
    return [
        one for one in modules if any(one == name or one.startswith(f"{name}.") for name in names)
    ]


@pytest.mark.parametrize("line", LIGHT)
def test_command_loads_no_slow_library_and_no_part_that_it_does_not_need(line: str) -> None:
    modules = loaded(*line.split())
    assert "koi_agent.cli.commands" in modules
    assert not among(modules, SLOW)
    assert not among(modules, [f"koi_agent.{part}" for part in (*AGENT, *LIGHT[line])])


def test_version_loads_nothing() -> None:
    assert not among(loaded("--version"), [*SLOW, "koi_agent.cli", "enum", "re", "typing"])


@pytest.mark.parametrize("line", ["watch", "doctor", "--help", "list --help"])
def test_probe_sees_what_other_commands_load(line: str) -> None:
    assert among(loaded(*line.split()), SLOW)


@pytest.mark.parametrize("module", [command.module for command in COMMANDS])
def test_module_of_a_command_executes_it(module: str) -> None:
    assert callable(import_module(f"koi_agent.cli.{module}").act)
