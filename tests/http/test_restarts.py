"""Restarts as by systemd: the socket stays, and one process follows another."""

import asyncio
import os
import signal
import socket
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from tests.http.tally import asking

RESTARTS = 50


async def lines(process: Process, count: int) -> list[str]:
    """Read lines of a process."""
    assert process.stdout
    return [(await process.stdout.readline()).decode().strip() for _ in range(count)]


async def started(process: Process) -> int:
    """Start the next serving process; returns its PID."""
    assert process.stdin
    process.stdin.write(b"start\n")
    (line,) = await lines(process, 1)
    word, pid = line.split()
    assert word == "serving"
    return int(pid)


async def stopped(process: Process, pid: int) -> None:
    os.kill(pid, signal.SIGTERM)
    assert await lines(process, 2) == ["stopped", "exit 0"]


@asynccontextmanager
async def served(path: socket.socket) -> AsyncIterator[Process]:
    """Start the process that starts the servers; all of them end with the block."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.http.served", str(path.fileno())),
        pass_fds=[path.fileno()],
        stdin=PIPE,
        stdout=PIPE,
        start_new_session=True,
    )
    try:
        yield process
    except BaseException:
        os.killpg(process.pid, signal.SIGKILL)
        raise
    finally:
        assert process.stdin
        process.stdin.close()
        await process.wait()


async def test_no_request_fails_in_fifty_restarts(path: socket.socket) -> None:
    async with served(path) as process, asking(path) as tally:
        for _ in range(RESTARTS):
            pid = await started(process)
            await tally.more(20)
            await stopped(process, pid)
        pid = await started(process)
        await tally.end()
        await stopped(process, pid)
    assert process.returncode == 0
    assert tally.met.keys() == {"200"}
    assert tally.met["200"] >= 20 * RESTARTS
