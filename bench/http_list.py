"""Measures how the agent encodes 5 000 instances: ``python -m bench.http_list``.

Over HTTP and in the reply of GetManagedObjects. It needs no root.
"""

import asyncio
import json
import os
import time
from contextlib import ExitStack, closing
from typing import Final

from bench.agents import Agent, Page
from bench.command import MANAGED, following
from bench.parts import Checkout, Run, main
from bench.processes import Cost, Ran
from koi_agent.core.dbus_names import NAME, ROOT
from tests.bus.raw_client import raw_client

ROUNDS: Final = 4
NEXT: Final = 5
"""Requests in a round after the first."""
COUNT: Final = 5_000
LIST: Final = "/v1/runtime/instances"
OBJECT_MANAGER: Final = "org.freedesktop.DBus.ObjectManager"


def measure(run: Run) -> None:
    with ExitStack() as stack:
        agents = {
            checkout: stack.enter_context(following(checkout, COUNT)) for checkout in run.checkouts
        }
        for checkout in run.turns(ROUNDS):
            address, agent = agents[checkout]
            over_http(run, checkout, agent)
            over_bus(run, checkout, agent, address)


def over_http(run: Run, checkout: Checkout, agent: Agent) -> None:
    with closing(Page(agent.page)) as page:
        encoded = dumped(page.get(LIST))
        cost, began = Cost(agent.pid), time.perf_counter()
        for _ in range(NEXT):
            page.get(LIST)
        duration = time.perf_counter() - began
    run.add("http.next", checkout, [1000 * duration / NEXT], [encoded])
    run.add("http.next.cpu", checkout, [1000 * cost.cpu() / NEXT], [encoded])


def dumped(body: bytes) -> float:
    """Return the milliseconds of processor time in which the json module encodes a document."""
    document = json.loads(body)
    began = time.process_time()
    json.dumps(document, ensure_ascii=False, separators=(",", ":")).encode()
    return 1000 * (time.process_time() - began)


def over_bus(run: Run, checkout: Checkout, agent: Agent, address: str) -> None:
    environment = os.environ | {"DBUS_SESSION_BUS_ADDRESS": address}
    busctl = Ran.program(MANAGED, environment)
    cost = Cost(agent.pid)
    duration = asyncio.run(unread(address))
    run.add("http.managed", checkout, [1000 * duration], [1000 * busctl.duration])
    run.add("http.managed.cpu", checkout, [1000 * cost.cpu()], [1000 * busctl.cpu])


async def unread(address: str) -> float:
    """Return the seconds until a reply of GetManagedObjects has come."""
    async with raw_client(address) as client:
        began = time.perf_counter()
        await client.call((NAME, ROOT, OBJECT_MANAGER), "GetManagedObjects")
        return time.perf_counter() - began


if __name__ == "__main__":
    main("http_list", measure, __doc__)
