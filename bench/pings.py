"""Pings an agent from a process of its own, which is busy with nothing else.

``python -m bench.pings ADDRESS`` pings until its input ends, and prints the longest wait in
milliseconds: the longest time that the agent served nothing, and that it waited for a CPU.
"""

import asyncio
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from koi_agent.bus.client import connected
from koi_agent.core.dbus_names import NAME, ROOT

PEER = (NAME, ROOT, "org.freedesktop.DBus.Peer")
PAUSE = 0.002
"""Seconds between two pings."""


@dataclass
class Pings:
    """The longest wait, in milliseconds; it is known after the end."""

    longest: float = 0.0


@contextmanager
def pinging(address: str) -> Iterator[Pings]:
    """Ping the agent on a bus meanwhile."""
    found = Pings()
    command = [sys.executable, "-m", "bench.pings", address]
    with subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parent.parent,
    ) as process:
        if not process.stdout or not process.stdout.readline():
            raise LookupError("the agent does not answer a ping")
        try:
            yield found
        finally:
            printed, _ = process.communicate()
        found.longest = float(printed)


async def _ping(address: str) -> float:
    """Ping until standard input ends; return the longest wait in milliseconds."""
    ended = asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
    longest = 0.0
    async with connected(address) as link:
        await link.call(PEER, "Ping")
        print(flush=True)  # noqa: T201 - from now on, pings are measured
        while not ended.done():
            began = time.perf_counter()
            await link.call(PEER, "Ping")
            longest = max(longest, time.perf_counter() - began)
            await asyncio.sleep(PAUSE)
    return 1000 * longest


if __name__ == "__main__":
    print(asyncio.run(_ping(sys.argv[1])))  # noqa: T201 - the result
