"""Measures the start-up of the command ``koi-runtime``: ``python -m bench.command``.

An agent on a bus of its own follows a fake engine. It needs no root.
"""

import os
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Final

from bench.agents import Agent, Page, engine, on_bus, settings, wait_until_calm
from bench.parts import Checkout, Run, main
from bench.processes import Ran
from koi_agent.core.dbus_names import NAME, ROOT
from tests.namespaces import wait_until
from tests.world.bus import PrivateBus

ROUNDS: Final = 15
LISTS: Final = {300: 10, 5_000: 4}
"""The rounds by the number of instances."""
MANAGED: Final = (
    *("busctl", "--user", "--timeout=60", "call", NAME, ROOT),
    *("org.freedesktop.DBus.ObjectManager", "GetManagedObjects"),
)


def measure(run: Run) -> None:
    versions(run, ROUNDS)
    for count, rounds in LISTS.items():
        lists(run, count, rounds)


def versions(run: Run, rounds: int) -> None:
    """Compare ``--version`` with a Python that does nothing, and with systemctl."""
    environment = dict(os.environ)
    for checkout in run.turns(rounds):
        version = checkout.command("--version")
        compare(run, "version", checkout, [version, checkout.empty()], environment)
        against = ["systemctl", "--version"]
        compare(run, "version_systemctl", checkout, [version, against], environment)


def lists(run: Run, count: int, rounds: int) -> None:
    """Compare ``list`` of so many instances with busctl."""
    with ExitStack() as stack:
        agents = {
            checkout: stack.enter_context(following(checkout, count)) for checkout in run.checkouts
        }
        for checkout in run.turns(rounds):
            address, _ = agents[checkout]
            reach = os.environ | {"DBUS_SESSION_BUS_ADDRESS": address}
            listing = checkout.command("list", "--user", "--no-pager")
            compare(run, f"list_{count}", checkout, [listing, MANAGED], reach)


def compare(
    run: Run,
    name: str,
    checkout: Checkout,
    commands: Sequence[Sequence[str]],
    environment: dict[str, str],
) -> None:
    """Measure our command and its floor."""
    ours, floor = (Ran.program(command, environment) for command in commands)
    run.add(f"command.{name}", checkout, [1000 * ours.duration], [1000 * floor.duration])
    run.add(f"command.{name}.cpu", checkout, [1000 * ours.cpu], [1000 * floor.cpu])


@contextmanager
def following(checkout: Checkout, count: int) -> Iterator[tuple[str, Agent]]:
    """Run an agent that follows containers; yield the address of its bus, and the agent."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        bus = PrivateBus(folder)
        bus.start()
        stack.callback(bus.kill)
        stack.enter_context(engine(folder / "docker.sock", count))
        text = settings(backends="docker", docker=folder / "docker.sock")
        agent = stack.enter_context(on_bus(checkout, folder, bus.address, text))
        with closing(Page(agent.page)) as page:
            wait_until(lambda: page.listed() >= count, f"{count} instances", timeout=120)
        wait_until_calm(agent.pid)
        yield bus.address, agent


if __name__ == "__main__":
    main("command", measure, __doc__)
