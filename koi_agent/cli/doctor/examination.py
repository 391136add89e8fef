"""The table of checks, and how they are made: all at once, each with its own deadline."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import replace

from koi_agent.cli.client import bus
from koi_agent.cli.doctor import agent, gates, installation, libraries, local, network
from koi_agent.cli.doctor.findings import DRIVER, Bus, Case, Finding, fine, wrong
from koi_agent.cli.doctor.units import SYSTEMD
from koi_agent.core.dbus_names import NAME
from koi_agent.core.errors import KoiError

PATIENCE = 5.0
"""Seconds a check may take."""

Check = tuple[str, Callable[[Case], Awaitable[Sequence[Finding]]]]
BusCheck = tuple[str, Callable[[Case, Bus], Awaitable[Sequence[Finding]]]]
Result = tuple[str, Finding]
"""The name of a check, and one thing it found."""

HERE: Sequence[Check] = (
    ("configuration", local.configuration),
    ("http", local.http),
    ("versions", libraries.versions),
)
ON_BUS: Sequence[BusCheck] = (
    ("service", installation.service),
    ("policy", installation.policy),
    ("activation", installation.activation),
    ("systemd", installation.systemd),
    ("polkit", installation.polkit),
    ("gates", gates.gates),
    ("mdns", network.mdns),
)
OF_AGENT: Sequence[BusCheck] = (
    ("agent", agent.identity),
    ("state", agent.state),
    ("backends", agent.backends),
)
"""A new check is a new row in one of these: without a bus, with one, with an agent there."""


async def examine(scope: str, environment: Mapping[str, str]) -> list[Result]:
    """Make all checks that can be made."""
    case = Case(scope=scope, environment=environment)
    async with AsyncExitStack() as stack:
        results = []
        try:
            met = await _meet(stack, scope)
        except TimeoutError:
            results.append(("bus", wrong(f"the {scope} bus does not answer")))
        except KoiError as trouble:
            results.append(("bus", wrong(str(trouble))))
        else:
            results.append(("bus", fine(f"the {scope} bus answers at {met.link.address}")))
            case = replace(case, bus=met)
        if case.bus and not case.served:
            text = f"nobody owns {NAME} on the {scope} bus"
            advice = "" if SYSTEMD in case.bus.names else "koi-runtime run"  # else see to the unit
            results.append(("agent", wrong(text, advice)))
        return results + await _made(case)


async def _meet(stack: AsyncExitStack, scope: str) -> Bus:
    """Connect to a bus for as long as the stack stands, and see who is there."""
    async with asyncio.timeout(PATIENCE):
        link = await stack.enter_async_context(bus(scope))
        (names,) = await link.call(DRIVER, "ListNames")
        (activatable,) = await link.call(DRIVER, "ListActivatableNames")
        owner = ""
        if NAME in names:
            (owner,) = await link.call(DRIVER, "GetNameOwner", "s", (NAME,))
    return Bus(link=link, owner=owner, names=frozenset(names), activatable=frozenset(activatable))


async def _made(case: Case) -> list[Result]:
    """Make the checks at once; returns what they found, in the order of the tables."""
    waiting = [(name, look(case)) for name, look in HERE]
    if met := case.bus:
        rows = [*ON_BUS, *(OF_AGENT if met.owner else ())]
        waiting += [(name, look(case, met)) for name, look in rows]
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(_bounded(*row), name=f"check {row[0]}") for row in waiting]
    return [result for task in tasks for result in task.result()]


async def _bounded(name: str, finding: Awaitable[Sequence[Finding]]) -> list[Result]:
    """Make a check, which fails at its deadline."""
    try:
        async with asyncio.timeout(PATIENCE):
            found = await finding
    except TimeoutError:
        found = [wrong(f"no answer within {PATIENCE:.0f} s")]
    except (KoiError, OSError) as trouble:
        found = [wrong(str(trouble))]
    return [(name, one) for one in found]
