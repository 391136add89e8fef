"""Processor time and memory that code takes. Tests compare figures; none is bounded by itself.

Processor time does not grow with the wait for a CPU, so a busy machine changes it little.
"""

import asyncio
import gc
import resource
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from time import monotonic, thread_time


@dataclass
class Stalls:
    """How a block shared the event loop, in seconds of this thread's processor time."""

    total: float = 0.0
    """The time of the whole block."""
    longest: float = 0.0
    """The longest time that a ready task had to wait for its turn."""

    @property
    def share(self) -> float:
        """The part of the whole time for which the longest wait stood, 0 to 1."""
        return self.longest / self.total


@asynccontextmanager
async def stalls() -> AsyncIterator[Stalls]:
    """Measure the event loop while the block runs; yields figures that are complete afterwards."""
    found = Stalls()

    async def watch() -> None:
        while True:
            before = thread_time()
            await asyncio.sleep(0.001)
            found.longest = max(found.longest, thread_time() - before)

    gc.collect()
    gc.freeze()  # collecting the test's own objects would count as work of the product
    began = thread_time()
    async with asyncio.TaskGroup() as group:
        watcher = group.create_task(watch())
        try:
            yield found
        finally:
            found.total = thread_time() - began
            watcher.cancel()
            gc.unfreeze()


@dataclass
class Use:
    """The processor use of a block."""

    seconds: float = 0.0
    """Processor time of this thread."""
    elapsed: float = 0.0
    """Time by the clock."""
    waits: int = 0
    """Voluntary context switches: times that this process gave the processor up to wait."""

    @property
    def share(self) -> float:
        """Processor time by time by the clock: near 1 for a block that never waits."""
        return self.seconds / self.elapsed


@contextmanager
def used() -> Iterator[Use]:
    """Measure a block; yields figures that are complete afterwards."""
    found, began, clock = Use(), thread_time(), monotonic()
    waits = resource.getrusage(resource.RUSAGE_SELF).ru_nvcsw
    try:
        yield found
    finally:
        found.seconds = thread_time() - began
        found.elapsed = monotonic() - clock
        found.waits = resource.getrusage(resource.RUSAGE_SELF).ru_nvcsw - waits


def best(measured: Callable[[], object], *, times: int = 5) -> float:
    """Return the least processor time in seconds that a function took in some runs."""
    found = []
    for _ in range(times):
        with used() as use:
            measured()
        found.append(use.seconds)
    return min(found)


def alive(kind: type[object]) -> int:
    """Return the number of objects of a class, not of its subclasses."""
    gc.collect()
    return sum(type(one) is kind for one in gc.get_objects())


def resident(status: str) -> int:
    """Return the resident memory in bytes by the text of ``/proc/PID/status``."""
    (line,) = [line for line in status.splitlines() if line.startswith("VmRSS:")]
    return int(line.split()[1]) * 1024
