"""Programs born into another process's namespaces, as children of ours.

nsenter alone would stand between us and a program in a pid namespace: signals, also those that
cannot be passed on, would reach nsenter. So this thread's children are born there instead.
"""

import contextlib
import ctypes
import os
import subprocess
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Final

CLONE_NEWPID: Final = 0x20000000

# The shell puts itself into the world's control group from outside, where the kernel allows
# it, and becomes nsenter, which becomes the program: one process from start to end.
ENTER: Final = (
    'echo 0 >"/proc/$1/root/sys/fs/cgroup/visitors/cgroup.procs"; '
    'leader=$1; shift; exec nsenter -t "$leader" -m -n -C -- env -C "$PWD" -- "$@"'
)


def spawn(leader: int, argv: Iterable[str], **popen: Any) -> subprocess.Popen[str]:
    """Start a program beside the leader of a world."""
    with children_born_into(f"/proc/{leader}/ns/pid"):
        return subprocess.Popen(["sh", "-c", ENTER, "enter", str(leader), *argv], **popen)


def leader(command: list[str], name: str) -> int:
    """Find the leader that runs this command for the world of this name."""
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):  # processes come and go
            words = path.read_text(errors="replace").split("\0")[:-1]
            if words[1:3] == command and words[4:] == [name]:
                return int(path.parent.name)
    raise ProcessLookupError(f"no world named {name} is running")


@contextlib.contextmanager
def children_born_into(namespace: str) -> Iterator[None]:
    """Have what this thread starts meanwhile be born into a pid namespace."""
    set_child_namespace(namespace)
    try:
        yield
    finally:
        set_child_namespace("/proc/self/ns/pid")


def set_child_namespace(path: str) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    with Path(path).open() as namespace:
        if libc.setns(namespace.fileno(), CLONE_NEWPID):
            raise OSError(ctypes.get_errno(), f"{os.strerror(ctypes.get_errno())}: {path}")
