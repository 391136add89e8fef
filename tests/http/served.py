"""The HTTP part of an agent, a process for each run: served.py DESCRIPTOR.

Each line of the standard input starts a process that serves on the descriptor until SIGTERM. It
is a fork of this one, which has loaded the code already: the code loads once for many restarts.
"""

import asyncio
import os
import signal
import socket
import sys

from tests.http.serving import Agent
from tests.http.tally import PATIENT
from tests.unit.things import unit


async def serve(listening: socket.socket) -> None:
    agent = Agent(unit("web.service"), limits=PATIENT)
    task = asyncio.current_task()
    assert task
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    say(f"serving {os.getpid()}")
    try:
        await agent.publisher.serve([listening])
    except asyncio.CancelledError:
        say("stopped")


def say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def main(listening: socket.socket) -> None:
    listening.settimeout(0)
    for _ in sys.stdin:
        pid = os.fork()
        if not pid:
            asyncio.run(serve(listening))
            os._exit(0)
        _, status = os.waitpid(pid, 0)
        say(f"exit {os.waitstatus_to_exitcode(status)}")


if __name__ == "__main__":
    with socket.socket(fileno=int(sys.argv[1])) as passed:
        main(passed)
