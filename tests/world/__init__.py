"""A private world: a real systemd user manager with a real bus, in namespaces of its own.

One starts in about a second, several live side by side, and everything in one dies with it,
also when its starter is killed. It needs root. It is not a machine: no journald, no logind,
no system manager.
"""

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

from tests.world import namespaces

SCRIPT: Final = Path(__file__).with_name("world.sh")
CHECKOUT: Final = Path(__file__).parents[2]
PROGRAMS: Final = ("systemctl", "/lib/systemd/systemd", "unshare", "nsenter", "dbus-daemon", "ip")
MANAGER: Final = "org.freedesktop.systemd1"
RUNTIME_FOLDERS: Final = ("transient", "user", "user.control")


class WorldFailed(Exception):
    """The world did not do what it was asked for in time."""


def missing() -> str:
    """What this machine lacks for a world, or nothing."""
    if os.geteuid() != 0:
        return "not root (make test asks for it)"
    absent = [program for program in PROGRAMS if shutil.which(program) is None]
    return f"not installed: {', '.join(absent)}" if absent else ""


class World:
    """One private world; use it as a context manager."""

    pid: int
    """The world's PID 1, as the host numbers it."""
    home: Path
    """The manager's home folder: the same path inside and outside."""

    def __init__(self, name: str = "test") -> None:
        self._name = name

    def __enter__(self) -> Self:
        self._keeper = subprocess.Popen(
            [SCRIPT, "start", self._name],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,  # a Ctrl-C is for the starter, which then ends the world
        )
        try:
            self._settle()
        except BaseException:
            self.close()
            raise
        return self

    @classmethod
    def running(cls, name: str) -> Self:
        """The world of this name that somebody else started, to enter it."""
        world = cls(name)
        world.pid = namespaces.leader([str(SCRIPT), "manager"], name)
        variables = Path(f"/proc/{world.pid}/environ").read_bytes().split(b"\0")
        homes = [value for value in variables if value.startswith(b"HOME=")]
        world.home = Path(os.fsdecode(homes[-1].removeprefix(b"HOME=")))
        return world

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def _settle(self) -> None:
        assert self._keeper.stdout is not None
        line = self._keeper.stdout.readline().split()
        if len(line) != 2:
            raise WorldFailed(f"{SCRIPT.name} ended without a world")
        self.pid, self.home = int(line[0]), Path(line[1])
        self.units.mkdir(parents=True)
        self.wait_for_bus()
        self._own_units = self._loaded_units()

    def close(self) -> None:
        """End the world and all in it."""
        with self._keeper:
            assert self._keeper.stdin is not None
            self._keeper.stdin.close()
            self._keeper.wait(timeout=20)

    # Programs in the world

    @property
    def bus_address(self) -> str:
        """The bus, for a client outside the world."""
        return f"unix:path=/proc/{self.pid}/root/run/user/0/bus"

    @property
    def environment(self) -> dict[str, str]:
        """What programs in the world find around them; little of the host's gets in."""
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
        """Start a program in the world; its pid and its signals are the program's own."""
        popen.setdefault("text", True)
        environment = self.environment | dict(env or {})
        return namespaces.spawn(self.pid, map(str, argv), env=environment, **popen)

    def run(
        self,
        *argv: str | Path,
        check: bool = True,
        timeout: float = 30,
        env: Mapping[str, str] | None = None,
    ) -> subprocess.CompletedProcess[str]:
        """Run a program in the world to its end."""
        with self.spawn(
            *argv,
            env=env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        ) as process:
            try:
                out, err = process.communicate(timeout=timeout)
            except BaseException:
                process.kill()
                raise
        done = subprocess.CompletedProcess(argv, process.returncode, out, err)
        if check and done.returncode:
            raise WorldFailed(f"{' '.join(map(str, argv))}: exit {done.returncode}: {err.strip()}")
        return done

    # The manager and its units

    def systemctl(self, *args: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run systemctl on the world's manager, which works without the bus."""
        return self.run("systemctl", "--user", "--no-pager", *args, check=check)

    @property
    def units(self) -> Path:
        """Where unit files go: the same path inside and outside."""
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
        """Have the manager read all unit files again."""
        self.systemctl("daemon-reload")

    def reset(self) -> None:
        """Undo what a test did, so that the next one finds the world as it was."""
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
        """Thaw by the manager what it froze, and by hand what somebody else did."""
        for switch in self._inside("/sys/fs/cgroup").glob("*/**/cgroup.freeze"):
            with contextlib.suppress(OSError):  # a group may go while we look at it
                if switch.read_text().strip() == "1":
                    self.systemctl("thaw", switch.parent.name, check=False)
                    switch.write_text("0")

    def _remove_files(self) -> None:
        runtime = self._inside("/run/user/0/systemd")
        for folder in (self.home, *(runtime / part for part in RUNTIME_FOLDERS)):
            if folder.is_dir():
                empty(folder)
        self.units.mkdir(parents=True)

    def _loaded_units(self) -> set[str]:
        listed = self.systemctl("list-units", "--all", "--plain", "--no-legend").stdout
        return {line.split()[0] for line in listed.splitlines()}

    def _inside(self, path: str) -> Path:
        return Path(f"/proc/{self.pid}/root{path}")

    # The bus

    def kill_bus(self) -> None:
        """Kill the bus daemon, and wait until the manager is on the bus that comes after it."""
        self._signal_bus(signal.SIGKILL)
        self.wait_for_bus()

    def stop_bus_process(self) -> None:
        """Have the bus accept and never answer."""
        self._signal_bus(signal.SIGSTOP)

    def continue_bus_process(self) -> None:
        """Have a stopped bus answer again."""
        self._signal_bus(signal.SIGCONT)

    def wait_for_bus(self) -> None:
        """Wait until the bus answers and the manager is on it."""
        ask = ("busctl", "--user", "--timeout=2", "status", MANAGER)
        wait_until(lambda: self.run(*ask, check=False).returncode == 0, f"{MANAGER} on the bus")

    def _signal_bus(self, number: signal.Signals) -> None:
        for pid in self.bus_pids():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)

    def bus_pids(self) -> list[int]:
        """The bus daemon's number as the host sees it; none while no client needs it."""
        return list(filter(is_bus_daemon, self._processes("session.slice/dbus.service")))

    def _processes(self, group: str) -> list[int]:
        try:
            text = self._inside(f"/sys/fs/cgroup/{group}/cgroup.procs").read_text()
        except OSError:  # gone, or going while it is read
            return []
        return [int(pid) for pid in text.split()]


def is_bus_daemon(pid: int) -> bool:
    """Whether a process is the bus itself, not a service that it started."""
    try:
        return Path(f"/proc/{pid}/comm").read_text().strip() == "dbus-daemon"
    except FileNotFoundError:
        return False


def wait_until(condition: Callable[[], bool], description: str, *, timeout: float = 10) -> None:
    """Ask until the answer is yes."""
    deadline = time.monotonic() + timeout
    while not condition():
        if time.monotonic() > deadline:
            raise WorldFailed(f"waited {timeout:g} s for: {description}")
        time.sleep(0.02)


def empty(folder: Path) -> None:
    """Remove all in a folder."""
    for path in folder.iterdir():
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()
