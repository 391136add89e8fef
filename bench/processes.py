"""The cost of processes, by the kernel's accounting."""

import os
import subprocess
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self

PROCESS_CLOCK: Final = 2
"""The clock of a process by clock_getcpuclockid(3): the sum of the run times of its threads.

It is the same nanoseconds as ``/proc/PID/task/TID/schedstat``, and includes threads that ended."""


def cpu(pids: Iterable[int]) -> float:
    """Return the processor time of processes in seconds."""
    return sum(time.clock_gettime(~pid << 3 | PROCESS_CLOCK) for pid in pids)


def resident(pid: int) -> float:
    """Return the resident memory of a process in MB, counted page by page."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("Rss:")) / 1024


def switches(pids: Iterable[int]) -> int:
    """Return how often threads of processes gave a processor up to wait, and so were woken.

    Involuntary switches do not count: another process makes them, while there is work to do.
    """
    return sum(
        int(line.split()[1])
        for pid in pids
        for thread in Path(f"/proc/{pid}/task").iterdir()
        for line in (thread / "status").read_text().splitlines()
        if line.startswith("voluntary_ctxt_switches:")
    )


class Cost:
    """The processor time that processes use from now on."""

    def __init__(self, *pids: int) -> None:
        self._pids = pids
        self._before = cpu(pids)

    def cpu(self) -> float:
        """Return the seconds of processor time since the object was made."""
        return cpu(self._pids) - self._before

    def memory(self) -> int:
        """Return the resident memory in MB."""
        return round(sum(map(resident, self._pids)))


@dataclass(frozen=True, slots=True)
class Ran:
    """The cost of a program from exec to exit, in seconds."""

    duration: float
    cpu: float

    @classmethod
    def program(cls, command: Sequence[str | Path], environment: dict[str, str]) -> Self:
        """Run a program to its end without output; raise ChildProcessError if it fails."""
        began = time.perf_counter()
        child = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL)
        _, status, usage = os.wait4(child.pid, 0)
        duration = time.perf_counter() - began
        child.returncode = os.waitstatus_to_exitcode(status)
        if child.returncode:
            raise ChildProcessError(f"{command}: exit {child.returncode}")
        return cls(duration, usage.ru_utime + usage.ru_stime)
