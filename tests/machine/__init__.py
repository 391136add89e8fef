"""A whole machine: a Debian suite, booted with its systemd as PID 1 (systemd-nspawn).

It boots in some seconds on an overlay of its image, so every boot finds the image unchanged. Its
network has no way out. It ends with its starter, also when that is killed. It needs root.
"""

import contextlib
import itertools
import os
import platform
import shutil
import signal
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from tests import namespaces
from tests.machine import images
from tests.namespaces import CHECKOUT, JOIN, Namespaces, wait_until

COPY: Final = "/srv/koi-runtime"
"""The folder in a machine that holds a copy of tests/: some of its programs run there."""
PROGRAMS: Final = ("mmdebstrap", "nsenter", "setpriv", "systemd-nspawn", "unshare")

# The kernel kills unshare with us, unshare kills PID 1 of its namespace, and the kernel all other
# processes there. nspawn alone would leave the machine running.
STARTER: Final = (
    *("setpriv", "--pdeathsig", "KILL"),
    *("unshare", "--mount", "--pid", "--fork", "--mount-proc", "--kill-child"),
    *("systemd-nspawn", "--quiet", "--boot", "--volatile=overlay", "--private-network"),
    *("--register=no", "--keep-unit", "--console=pipe"),
    "--capability=all",  # container engines make device nodes and control groups
)
# A seccomp filter around the machine would forbid what its services may do on a real one. The
# machine's own systemd sets up the filters of services.
STARTER_ENVIRONMENT: Final = {"SYSTEMD_NSPAWN_UNIFIED_HIERARCHY": "1", "SYSTEMD_SECCOMP": "0"}
WATCHES = Path("/proc/sys/fs/inotify/max_user_instances")
MOST_WATCHES = 1024
HIERARCHIES: Final = (Path("/sys/fs/cgroup"), Path("/sys/fs/cgroup/unified"))
"""Where the unified hierarchy of control groups may be."""
ENTER: Final = ("mount", "uts", "ipc", "net", "cgroup")
GROUP: Final = "init.scope"
"""The control group of programs that are run in a machine. busctl fails on those outside of it."""

_numbers: Final = itertools.count()


def missing() -> str:
    """Return what this host lacks for machines; "" if nothing."""
    return namespaces.missing(PROGRAMS, goal="make machine-test")


class Machine:
    """A machine, its files, and programs that run in it."""

    def __init__(self, suite: str, pid: int, group: str = "") -> None:
        self.suite = suite
        self._inside = Namespaces(leader=pid, kinds=ENTER, group=group)

    def path(self, path: str) -> Path:
        """Return a path of the machine as seen from the host; links are not followed."""
        return self._inside.path(path)

    def write(self, path: str, text: str) -> None:
        """Write a file in the machine, and the folders above it."""
        file = self.path(path)
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)

    def remove(self, path: str) -> None:
        """Remove a file or a folder of the machine, if it is there."""
        file = self.path(path)
        if file.is_dir() and not file.is_symlink():
            shutil.rmtree(file)
        else:
            file.unlink(missing_ok=True)

    def spawn(
        self, *argv: str, user: str = "root", env: Mapping[str, str] | None = None, **popen: Any
    ) -> subprocess.Popen[str]:
        """Start a program in the machine; PID and signals are the program's own."""
        return self._inside.spawn(*_become(user), *argv, env=_environment(user, env), **popen)

    def run(
        self,
        *argv: str,
        user: str = "root",
        check: bool = True,
        timeout: float = 90,
        env: Mapping[str, str] | None = None,
    ) -> subprocess.CompletedProcess[str]:
        """Run a program in the machine to its end; raises HarnessFailed unless it exits with 0."""
        return self._inside.run(
            *_become(user), *argv, check=check, timeout=timeout, env=_environment(user, env)
        )

    def systemctl(self, *args: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run systemctl on the machine's manager."""
        return self.run("systemctl", "--no-pager", *args, check=check, timeout=180)

    def show(self, unit: str, name: str) -> str:
        """Return one property of a unit."""
        return self.systemctl("show", "--value", f"--property={name}", unit).stdout.strip()

    def kill(self, pid: int, number: signal.Signals) -> None:
        """Send a signal to a process, by its PID in the machine."""
        self.run("kill", f"-{number.name.removeprefix('SIG')}", str(pid))


def _become(user: str) -> tuple[str, ...]:
    return ("setpriv", f"--reuid={user}", f"--regid={user}", "--init-groups", "--")


def _environment(user: str, more: Mapping[str, str] | None) -> dict[str, str]:
    home = "/root" if user == "root" else f"/home/{user}"
    base = {"HOME": home, "LANG": "C.UTF-8", "PATH": "/usr/sbin:/usr/bin:/sbin:/bin"}
    return base | {"TERM": "dumb", "USER": user} | dict(more or {})


@contextlib.contextmanager
def booted(suite: str) -> Iterator[Machine]:
    """Boot and yield a machine of a suite, with a copy of the tests in it."""
    root = images.image(suite)
    _allow_watches()
    name = f"koi-{suite}-{os.getpid()}-{next(_numbers)}"
    console = images.FOLDER / f"{name}.log"
    group = _control_group(name)
    join = ("sh", "-c", JOIN, "join", group / "cgroup.procs") if group else ()
    with console.open("w") as output:
        starter = subprocess.Popen(
            [*join, *STARTER, f"--directory={root}", f"--machine={name}"],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            env=os.environ | STARTER_ENVIRONMENT,
            start_new_session=True,  # Ctrl-C reaches only the test runner, which then ends this
        )
    try:
        with starter:
            try:
                yield _up(suite, starter.pid, console)
            finally:
                starter.kill()
    finally:
        if group:
            _remove(group)
    console.unlink()  # it stays after a failure


def _allow_watches() -> None:
    """Raise the limit of inotify instances, which all booted machines and this host share."""
    with contextlib.suppress(OSError):
        if int(WATCHES.read_text()) < MOST_WATCHES:
            WATCHES.write_text(str(MOST_WATCHES))


def _control_group(name: str) -> Path | None:
    """Make a control group: machines that run at one time must not share the one of nspawn.

    Returns ``None`` without a unified hierarchy, where machines must run one after the other.
    """
    found = (one for one in HIERARCHIES if (one / "cgroup.controllers").exists())
    root = next(found, None)
    if root is None:
        return None
    with contextlib.suppress(OSError):  # where a group of version 1 has the controller
        controllers = (root / "cgroup.controllers").read_text().split()
        (root / "cgroup.subtree_control").write_text(" ".join(f"+{one}" for one in controllers))
    group = root / name
    group.mkdir()
    return group


def _remove(group: Path) -> None:
    """Remove a control group and those below it, once their processes have ended."""

    def removed() -> bool:
        with contextlib.suppress(OSError):
            for folder, _, _ in os.walk(group, topdown=False):
                Path(folder).rmdir()
        return not group.exists()

    wait_until(removed, f"{group} is empty")


def _up(suite: str, starter: int, console: Path) -> Machine:
    what = f"{suite}'s machine is up (see {console})"
    machine = Machine(suite, wait_until(lambda: _leader(starter), what), GROUP)
    ask = ("systemctl", "is-system-running", "--wait")
    wait_until(
        lambda: machine.run(*ask, check=False, timeout=120).stdout.strip() == "running",
        what,
        timeout=120,
    )
    _copy_tests(machine)
    return machine


def _leader(starter: int) -> int:
    """Return the PID of the machine's PID 1, the child of the starter's child; 0 if not yet."""
    for nspawn in namespaces.children(starter):
        for leader in namespaces.children(nspawn):
            if namespaces.name(leader) in ("systemd", "init"):  # not a stage of nspawn itself
                return leader
    return 0


def _copy_tests(machine: Machine) -> None:
    ignore = shutil.ignore_patterns("__pycache__")
    shutil.copytree(CHECKOUT / "tests", machine.path(COPY) / "tests", ignore=ignore)


def here() -> Machine:
    """Return this host as a machine, for autopkgtest, which puts the checkout into ``COPY``."""
    return Machine(platform.freedesktop_os_release().get("VERSION_CODENAME", "sid"), pid=1)
