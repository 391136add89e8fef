"""A private world: a real systemd user manager with a real bus, in namespaces of its own.

It starts in about a second. Several run side by side, and all in one ends with it, also when the
starter is killed. It needs root. It has no journald, no logind and no system manager.
"""

import contextlib
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, Self

from tests import namespaces
from tests.namespaces import CHECKOUT, Namespaces, kept, wait_until

SCRIPT: Final = Path(__file__).with_name("world.sh")
PROGRAMS: Final = ("systemctl", "/lib/systemd/systemd", "unshare", "nsenter", "dbus-daemon", "ip")
MANAGER: Final = "org.freedesktop.systemd1"
RUNTIME_FOLDERS: Final = ("transient", "user", "user.control")


def missing() -> str:
    """Return what this host lacks for a world; "" if nothing."""
    return namespaces.missing(PROGRAMS)


class World:
    """One private world; use it as a context manager."""

    pid: int
    """PID 1 of the world, by its PID on the host."""
    home: Path
    """The manager's home folder: the same path inside and outside."""

    def __init__(self, name: str = "test") -> None:
        self._name = name

    def __enter__(self) -> Self:
        with contextlib.ExitStack() as stack:
            keeper = stack.enter_context(kept(SCRIPT, self._name))
            pid, home = keeper.read_line().split()
            self._enter(int(pid), Path(home))
            self.units.mkdir(parents=True)
            self.wait_for_bus()
            self._own_units = self._loaded_units()
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    @classmethod
    def running(cls, name: str) -> Self:
        """Return the running world of this name; raises ProcessLookupError."""
        world = cls(name)
        pid = namespaces.leader_of(SCRIPT, name)
        variables = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
        homes = [value for value in variables if value.startswith(b"HOME=")]
        world._enter(pid, Path(os.fsdecode(homes[-1].removeprefix(b"HOME="))))
        return world

    def _enter(self, pid: int, home: Path) -> None:
        self.pid, self.home = pid, home
        self._inside = Namespaces(leader=pid, group="visitors", folder=Path.cwd())

    # Programs in the world

    @property
    def bus_address(self) -> str:
        """The bus, for a client outside the world."""
        return f"unix:path=/proc/{self.pid}/root/run/user/0/bus"

    @property
    def environment(self) -> dict[str, str]:
        """The environment of programs in the world, with little of the host's."""
        tools = str(Path(sys.executable).parent)
        return {
            "HOME": str(self.home),
            "LANG": "C.UTF-8",
            "PATH": os.pathsep.join([tools, os.environ.get("PATH", os.defpath)]),
            "PYTHONPATH": str(CHECKOUT),
            "TERM": os.environ.get("TERM", "dumb"),
            "XDG_RUNTIME_DIR": "/run/user/0",
            "DBUS_SESSION_BUS_ADDRESS": "unix:path=/run/user/0/bus",
        }

    def spawn(
        self, *argv: str | Path, env: Mapping[str, str] | None = None, **popen: Any
    ) -> subprocess.Popen[str]:
        """Start a program in the world; PID and signals are the program's own."""
        return self._inside.spawn(*argv, env=self.environment | dict(env or {}), **popen)

    def run(
        self,
        *argv: str | Path,
        check: bool = True,
        timeout: float = 60,
        env: Mapping[str, str] | None = None,
    ) -> subprocess.CompletedProcess[str]:
        """Run a program in the world to its end; raises HarnessFailed unless it exits with 0."""
        environment = self.environment | dict(env or {})
        return self._inside.run(*argv, check=check, timeout=timeout, env=environment)

    # The manager and its units

    def systemctl(self, *args: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run systemctl on the world's manager; it works without the bus."""
        return self.run("systemctl", "--user", "--no-pager", *args, check=check)

    @property
    def units(self) -> Path:
        """The folder of unit files: the same path inside and outside."""
        return self.home / ".config/systemd/user"

    def unit(self, name: str, text: str) -> Path:
        """Write a unit file; the manager sees it when it loads the unit or reloads."""
        path = self.units / name
        path.write_text(text)
        return path

    def drop_in(self, unit: str, name: str, text: str) -> Path:
        """Write a drop-in of a unit; the manager sees it when it reloads."""
        path = self.units / f"{unit}.d" / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
        return path

    def remove_unit(self, name: str) -> None:
        """Remove a unit file and its drop-ins; the manager forgets it when it reloads."""
        (self.units / name).unlink(missing_ok=True)
        shutil.rmtree(self.units / f"{name}.d", ignore_errors=True)

    def reload(self) -> None:
        """Make the manager read all unit files again."""
        self.systemctl("daemon-reload")

    def reset(self) -> None:
        """Undo what a test did to the world."""
        self.continue_bus_process()
        self._kill_visitors()
        self._thaw()
        made = self._loaded_units() - self._own_units
        if made:
            self.systemctl("stop", "--", *sorted(made), check=False)
        self._remove_files()
        self.reload()
        self.systemctl("reset-failed")
        self.wait_for_bus()

    def _kill_visitors(self) -> None:
        for pid in self._processes("visitors"):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def _thaw(self) -> None:
        """Thaw by the manager what it froze, and directly what others froze."""
        # os.walk goes on if a group is removed meanwhile.
        for folder, _, files in os.walk(self._inside.path("/sys/fs/cgroup")):
            switch = Path(folder, "cgroup.freeze")
            with contextlib.suppress(OSError):
                if switch.name in files and switch.read_text().strip() == "1":
                    self.systemctl("thaw", switch.parent.name, check=False)
                    switch.write_text("0")

    def _remove_files(self) -> None:
        runtime = self._inside.path("/run/user/0/systemd")
        for folder in (self.home, *(runtime / part for part in RUNTIME_FOLDERS)):
            if folder.is_dir():
                empty(folder)
        self.units.mkdir(parents=True)

    def _loaded_units(self) -> set[str]:
        listed = self.systemctl("list-units", "--all", "--plain", "--no-legend").stdout
        return {line.split()[0] for line in listed.splitlines()}

    # The bus

    def kill_bus(self) -> None:
        """Kill the bus daemon, and wait until the manager is connected to the next one."""
        self._signal_bus(signal.SIGKILL)
        self.wait_for_bus()

    def stop_bus_process(self) -> None:
        """Stop the bus daemon: it accepts connections and does not answer."""
        self._signal_bus(signal.SIGSTOP)

    def continue_bus_process(self) -> None:
        """Continue a stopped bus daemon."""
        self._signal_bus(signal.SIGCONT)

    def wait_for_bus(self) -> None:
        """Wait until the bus answers and the manager is connected to it."""
        ask = ("busctl", "--user", "--timeout=2", "status", MANAGER)
        wait_until(lambda: self.run(*ask, check=False).returncode == 0, f"{MANAGER} on the bus")

    def _signal_bus(self, number: signal.Signals) -> None:
        for pid in self.bus_pids():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)

    def bus_pids(self) -> list[int]:
        """Return the PID of the bus daemon on the host; [] while no client needs it."""
        return list(filter(_is_bus_daemon, self._processes("session.slice/dbus.service")))

    def _processes(self, group: str) -> list[int]:
        try:
            text = self._inside.path(f"/sys/fs/cgroup/{group}/cgroup.procs").read_text()
        except OSError:  # gone, or going while it is read
            return []
        return [int(pid) for pid in text.split()]


def _is_bus_daemon(pid: int) -> bool:
    """Return whether a process is the bus daemon itself, not a service that it started."""
    return namespaces.name(pid) == "dbus-daemon"


def empty(folder: Path) -> None:
    """Remove everything in a folder."""
    for path in folder.iterdir():
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path, ignore_errors=True)  # systemd removes its own files meanwhile
        else:
            path.unlink(missing_ok=True)
