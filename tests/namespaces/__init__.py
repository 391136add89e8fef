"""Base of the harnesses that run programs in namespaces: world, dockerd, lan and machine.

A harness starts a keeper, whose namespaces end with us even when we are killed. Programs start in
the namespaces of a leader, which is PID 1 there. All of this needs root.
"""

import contextlib
import ctypes
import os
import shutil
import subprocess
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeVar

CHECKOUT: Final = Path(__file__).parents[2]
CLONE_NEWPID: Final = 0x20000000
KEEPER_TIMEOUT: Final = 60
"""Seconds for all processes of a keeper's namespaces to end."""
JOIN: Final = '{ echo 0 >"$1"; } 2>/dev/null; shift; exec "$@"'

T = TypeVar("T")


class HarnessFailed(Exception):
    """A harness or a program in it failed, or a condition was not met in time."""


def missing(programs: Iterable[str], *, goal: str = "make test") -> str:
    """Return what this host lacks for a harness: root or programs; "" if nothing."""
    if os.geteuid() != 0:
        return f"not root ({goal} asks for it)"
    absent = [program for program in programs if shutil.which(program) is None]
    return f"not installed: {', '.join(absent)}" if absent else ""


def wait_until(
    condition: Callable[[], T], description: str | Callable[[], str], *, timeout: float = 30
) -> T:
    """Return the first true result of a condition; raises HarnessFailed after ``timeout`` s.

    A condition that fails is not met yet: a record may be incomplete, or a program gone.
    """
    deadline = time.monotonic() + timeout
    while True:
        reason: Exception | None = None
        try:
            if result := condition():
                return result
        except (HarnessFailed, LookupError, TypeError, ValueError) as error:
            reason = error
        if time.monotonic() > deadline:
            text = description if isinstance(description, str) else description()
            raise HarnessFailed(f"waited {timeout:g} s for: {text}") from reason
        time.sleep(0.02)


# Processes, by the PIDs of the host


def children(pid: int) -> list[int]:
    """Return the child processes of a process; [] if it is gone. Those of PID 1 include orphans."""
    try:
        return [
            int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        ]
    except OSError:
        return []


def name(pid: int) -> str:
    """Return the name of a process; "" if it is gone."""
    try:
        return Path(f"/proc/{pid}/comm").read_text().strip()
    except OSError:
        return ""


def leader_of(script: Path, argument: str) -> int:
    """Return the PID of a script's leader by its argument; raises ProcessLookupError."""
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):  # processes come and go
            words = path.read_text(errors="replace").split("\0")[:-1]
            if words[1:3] == [str(script), "settle"] and words[4:] == [argument]:
                return int(path.parent.name)
    raise ProcessLookupError(f"{script.name}: not running: {argument}")


# Programs in namespaces

_spawned: set[subprocess.Popen[str]] = set()
"""Those that have not ended."""


def _reap() -> None:
    """Forget the programs that have ended."""
    for process in [*_spawned]:
        if process.poll() is not None:
            _spawned.discard(process)


@dataclass(frozen=True, slots=True, kw_only=True)
class Namespaces:
    """The namespaces of a leader: programs start in them as child processes of ours."""

    leader: int
    """PID 1 of the namespaces, by its PID on the host."""
    kinds: tuple[str, ...] = ("mount", "net", "cgroup")
    """The namespaces that programs enter besides the PID namespace: options of nsenter."""
    group: str = ""
    """The control group that programs join, relative to the leader's root; "" for ours."""
    folder: Path | None = None
    """Their working directory; None for the root of the mount namespace."""

    def path(self, path: str | Path) -> Path:
        """Return a path of the namespaces as seen from the host; links are not followed."""
        return Path(f"/proc/{self.leader}/root{path}")

    def spawn(self, *argv: str | Path, **popen: Any) -> subprocess.Popen[str]:
        """Start a program; PID and signals of the returned process are the program's own.

        nsenter --pid would stay between us and the program, and signals would reach nsenter. So
        the children of this thread are born into the PID namespace instead.
        """
        popen.setdefault("text", True)
        with _children_born_into(f"/proc/{self.leader}/ns/pid"):
            process = subprocess.Popen([*self._enter(), *argv], **popen)
        _reap()
        _spawned.add(process)
        return process

    def run(
        self, *argv: str | Path, check: bool = True, timeout: float = 60, **popen: Any
    ) -> subprocess.CompletedProcess[str]:
        """Run a program to its end; raises HarnessFailed with its output unless it exits with 0."""
        pipes = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        with self.spawn(*argv, **(pipes | popen)) as process:
            try:
                out, err = process.communicate(timeout=timeout)
            except BaseException:
                process.kill()
                raise
        done = subprocess.CompletedProcess(argv, process.returncode, out, err)
        if check and done.returncode:
            shown = f"{(out or '')[-2000:]}{(err or '')[-2000:]}".strip()
            raise HarnessFailed(f"{' '.join(map(str, argv))}: exit {done.returncode}: {shown}")
        return done

    def _enter(self) -> list[str]:
        command = ["nsenter", f"--target={self.leader}", *(f"--{kind}" for kind in self.kinds)]
        if self.folder:
            # The path is looked up again: the old working directory is on the host's mount.
            command += ["env", f"--chdir={self.folder}"]
        if self.group:
            # From outside, where the kernel allows it: inside, the group may not be writable.
            processes = self.path(f"/sys/fs/cgroup/{self.group}/cgroup.procs")
            command = ["sh", "-c", JOIN, "join", str(processes), *command]
        return command


@contextlib.contextmanager
def _children_born_into(namespace: str) -> Iterator[None]:
    """Start the child processes of this thread in a PID namespace until the block is left."""
    _set_child_namespace(namespace)
    try:
        yield
    finally:
        _set_child_namespace("/proc/self/ns/pid")


def _set_child_namespace(path: str) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    with Path(path).open() as namespace:
        if libc.setns(namespace.fileno(), CLONE_NEWPID):
            raise OSError(ctypes.get_errno(), f"{os.strerror(ctypes.get_errno())}: {path}")


# What holds the namespaces


class Keeper:
    """A process that holds namespaces until its standard input ends, and then removes traces."""

    def __init__(self, script: Path, process: subprocess.Popen[str]) -> None:
        self._script = script
        self._process = process

    def read_line(self) -> str:
        """Return the next line that the keeper writes; raises HarnessFailed if it has ended."""
        assert self._process.stdout is not None
        if line := self._process.stdout.readline():
            return line.strip()
        raise HarnessFailed(f"{self._script.name}: ended before it was ready")

    def write_line(self, line: str) -> None:
        """Write a line to the leader."""
        assert self._process.stdin is not None
        self._process.stdin.write(f"{line}\n")
        self._process.stdin.flush()


@contextlib.contextmanager
def kept(
    script: Path, *arguments: str | Path, env: Mapping[str, str] | None = None
) -> Iterator[Keeper]:
    """Run a script that sources namespaces.sh; all in its namespaces ends with the block."""
    with subprocess.Popen(
        [script, "start", *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,  # Ctrl-C reaches only the test runner, which then ends the keeper
        env=env,
    ) as process:
        try:
            yield Keeper(script, process)
        finally:
            assert process.stdin is not None
            process.stdin.close()
            deadline = time.monotonic() + KEEPER_TIMEOUT
            while process.poll() is None and time.monotonic() < deadline:
                _reap()  # the namespaces end after all programs that a failed test has left
                time.sleep(0.01)
            process.wait(timeout=1)
