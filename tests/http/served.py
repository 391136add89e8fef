"""An HTTP publisher as a process: serves on a descriptor until SIGTERM."""

import asyncio
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
    sys.stdout.write("serving\n")
    sys.stdout.flush()
    try:
        await agent.publisher.serve([listening])
    except asyncio.CancelledError:
        sys.stdout.write("stopped\n")


if __name__ == "__main__":
    with socket.socket(fileno=int(sys.argv[1])) as passed:
        passed.settimeout(0)
        asyncio.run(serve(passed))
