"""A whole machine: a Debian suite, booted with its systemd as PID 1 (systemd-nspawn).

It boots in some seconds on an overlay of its image, so every boot finds the image as it was
made, and it has a network of its own without a way out. It needs root. It dies with its
starter, also when that is killed.
"""

import contextlib
import itertools
import os
import platform
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from tests.machine import images

CHECKOUT: Final = Path(__file__).parents[2]
COPY: Final = "/srv/koi-runtime"
"""The folder in a machine that holds a copy of tests/: some of its programs run there."""
PROGRAMS: Final = ("mmdebstrap", "nsenter", "setpriv", "systemd-nspawn", "unshare")

# The kernel ends the first of these with us, that one its child, and with a pid namespace's
# first process all others end: nspawn alone would leave the machine running behind it.
STARTER: Final = (
    *("setpriv", "--pdeathsig", "KILL"),
    *("unshare", "--mount", "--pid", "--fork", "--mount-proc", "--kill-child"),
    *("systemd-nspawn", "--quiet", "--boot", "--volatile=overlay", "--private-network"),
    *("--register=no", "--keep-unit", "--console=pipe"),
    "--capability=all",  # container engines make device nodes and control groups
)
# A seccomp filter around the machine would forbid what its services may do on a real one; that
# for services is set up by the machine's own systemd.
STARTER_ENVIRONMENT: Final = {"SYSTEMD_NSPAWN_UNIFIED_HIERARCHY": "1", "SYSTEMD_SECCOMP": "0"}
ENTER: Final = ("--mount", "--uts", "--ipc", "--net", "--pid", "--cgroup")


_numbers: Final = itertools.count()


class MachineFailed(Exception):
    """The machine did not do what it was asked for."""


def missing() -> str:
    """What this host lacks for machines, or nothing."""
    if os.geteuid() != 0:
        return "not root (make machine-test asks for it)"
    absent = [program for program in PROGRAMS if shutil.which(program) is None]
    return f"not installed: {', '.join(absent)}" if absent else ""


class Machine:
    """What a test does in a machine: to its files, and by programs that run in it."""

    def __init__(self, suite: str, pid: int) -> None:
        self.suite = suite
        self.pid = pid
        """The machine's PID 1, as we number it."""

    def path(self, path: str) -> Path:
        """Find a path of the machine's from outside; symbolic links lead astray."""
        return Path(f"/proc/{self.pid}/root{path}")

    def write(self, path: str, text: str) -> None:
        """Write a file in the machine, and the folders above it."""
        file = self.path(path)
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)

    def remove(self, path: str) -> None:
        """Remove a file or a folder of the machine's; it may be absent."""
        file = self.path(path)
        if file.is_dir() and not file.is_symlink():
            shutil.rmtree(file)
        else:
            file.unlink(missing_ok=True)

    def spawn(
        self,
        *argv: str,
        user: str = "root",
        env: Mapping[str, str] | None = None,
        **popen: Any,
    ) -> subprocess.Popen[str]:
        """Start a program in the machine; our child is nsenter, which waits for the program."""
        popen.setdefault("text", True)
        home = "/root" if user == "root" else f"/home/{user}"
        environment = {"HOME": home, "LANG": "C.UTF-8", "PATH": "/usr/sbin:/usr/bin:/sbin:/bin"}
        become = (f"--reuid={user}", f"--regid={user}", "--init-groups")
        return subprocess.Popen(
            ["nsenter", "--target", str(self.pid), *ENTER, "setpriv", *become, "--", *argv],
            env=environment | {"TERM": "dumb", "USER": user} | dict(env or {}),
            **popen,
        )

    def run(
        self,
        *argv: str,
        user: str = "root",
        check: bool = True,
        timeout: float = 30,
        env: Mapping[str, str] | None = None,
    ) -> subprocess.CompletedProcess[str]:
        """Run a program in the machine to its end."""
        pipes = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        bounded = ("timeout", "--kill-after=1", f"{timeout:g}", *argv)  # nsenter passes on nothing
        with self.spawn(*bounded, user=user, env=env, **pipes) as process:
            out, err = process.communicate()
        done = subprocess.CompletedProcess(argv, process.returncode, out, err)
        if check and done.returncode:
            shown = f"{out[-2000:]}{err[-2000:]}".strip()
            raise MachineFailed(f"{' '.join(argv)}: exit {done.returncode}: {shown}")
        return done

    def systemctl(self, *args: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run systemctl on the machine's manager."""
        return self.run("systemctl", "--no-pager", *args, check=check, timeout=100)

    def show(self, unit: str, name: str) -> str:
        """Read one property of a unit's."""
        return self.systemctl("show", "--value", f"--property={name}", unit).stdout.strip()

    def kill(self, pid: int, number: signal.Signals) -> None:
        """Send a signal to a process, by the number that it has in the machine."""
        self.run("kill", f"-{number.name.removeprefix('SIG')}", str(pid))


@contextlib.contextmanager
def booted(suite: str) -> Iterator[Machine]:
    """Yield a running machine of a suite, with a copy of the tests in it."""
    root = images.image(suite)
    name = f"koi-{suite}-{os.getpid()}-{next(_numbers)}"
    console = images.FOLDER / f"{name}.log"
    with console.open("w") as output:
        starter = subprocess.Popen(
            [*STARTER, f"--directory={root}", f"--machine={name}"],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            env=os.environ | STARTER_ENVIRONMENT,
            start_new_session=True,  # a Ctrl-C is for the test runner, which then ends us
        )
    with starter:
        try:
            yield _up(suite, starter.pid, console)
        finally:
            starter.kill()
    console.unlink()  # else it tells why


def _up(suite: str, starter: int, console: Path) -> Machine:
    what = f"{suite}'s machine is up (see {console})"
    wait_until(lambda: len(descendants(starter)) > 1, what)
    machine = Machine(suite, descendants(starter)[1])
    ask = ("systemctl", "is-system-running", "--wait")
    wait_until(
        lambda: machine.run(*ask, check=False, timeout=60).stdout.strip() == "running",
        what,
        timeout=60,
    )
    _copy_tests(machine)
    return machine


def _copy_tests(machine: Machine) -> None:
    ignore = shutil.ignore_patterns("__pycache__")
    shutil.copytree(CHECKOUT / "tests", machine.path(COPY) / "tests", ignore=ignore)


def here() -> Machine:
    """Take this very machine for one, as autopkgtest does; ``COPY`` is its runner's concern."""
    return Machine(platform.freedesktop_os_release().get("VERSION_CODENAME", "sid"), pid=1)


def descendants(pid: int) -> list[int]:
    """Tell the first child of a process, that one's first child, and so on."""
    found: list[int] = []
    with contextlib.suppress(OSError):  # processes come and go
        while line := Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
            pid = int(line[0])
            found.append(pid)
    return found


def wait_until(condition: Callable[[], Any], description: str, *, timeout: float = 10) -> Any:
    """Ask until the answer is true, and return it."""
    deadline = time.monotonic() + timeout
    while not (answer := condition()):
        if time.monotonic() > deadline:
            raise MachineFailed(f"waited {timeout:g} s for: {description}")
        time.sleep(0.05)
    return answer
