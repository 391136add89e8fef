"""Receives systemd's signals as the agent does, and does nothing with them.

``python -m bench.signal_reader ADDRESS`` prints a line once it is subscribed, and runs until it is
terminated. Its processor time is the least that an agent on the same connection needs.
"""

import asyncio
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from subprocess import PIPE, Popen

from bench.parts import Checkout
from bench.report import print_lines
from koi_agent.backends.systemd.manager import Manager, subscription
from koi_agent.bus.client import connected
from tests.namespaces import CHECKOUT


async def receive(address: str) -> None:
    """Receive the signals of all services until the bus is gone."""
    wanted = subscription(lambda path: path.endswith("_2eservice"), lambda _signals: None)
    async with connected(address) as link, link.subscribed(wanted):
        await Manager(link).subscribe()
        print_lines(["subscribed"])
        await link.wait_closed()


@contextmanager
def receiving(checkout: Checkout, address: str) -> Iterator[int]:
    """Run this program with the Python of a checkout; yield its PID."""
    command = [checkout.python, "-m", "bench.signal_reader", address]
    environment = os.environ | {"PYTHONPATH": checkout.places}
    with Popen(command, cwd=CHECKOUT, stdout=PIPE, env=environment) as process:
        assert process.stdout is not None
        process.stdout.readline()
        try:
            yield process.pid
        finally:
            process.terminate()


if __name__ == "__main__":
    asyncio.run(receive(sys.argv[1]))
