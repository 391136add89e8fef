"""Restarts as by systemd: the socket stays, and one process follows another."""

import asyncio
import socket
import sys
from asyncio.subprocess import PIPE, Process

import pytest

from tests.http.tally import asking


async def started(path: socket.socket) -> Process:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.http.served", str(path.fileno())),
        pass_fds=[path.fileno()],
        stdout=PIPE,
    )
    assert process.stdout
    assert await process.stdout.readline() == b"serving\n"
    return process


async def stopped(process: Process) -> None:
    process.terminate()
    out, _ = await process.communicate()
    assert (process.returncode, out) == (0, b"stopped\n")


@pytest.mark.timeout(240)
async def test_no_request_fails_in_fifty_restarts(path: socket.socket) -> None:
    async with asking(path) as tally:
        for _ in range(50):
            process = await started(path)
            await asyncio.sleep(0.05)
            await stopped(process)
        process = await started(path)
        await tally.end()
        await stopped(process)
    assert tally.met.keys() == {"200"}
    assert tally.met["200"] > 500
