"""The table of checks; all checks run at once, each with its own timeout."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import replace

from koi_agent.cli.async_client import bus
from koi_agent.cli.doctor import (
    agent,
    dns,
    gates,
    installation,
    koi,
    kubernetes,
    libraries,
    local,
    machines,
    network,
    proxy,
)
from koi_agent.cli.doctor.findings import DRIVER, Bus, Case, Finding, failure, ok
from koi_agent.cli.doctor.units import SYSTEMD
from koi_agent.core.dbus_names import NAME
from koi_agent.core.errors import KoiError
from koi_agent.timeouts import timeout

Check = tuple[str, Callable[[Case], Awaitable[Sequence[Finding]]]]
BusCheck = tuple[str, Callable[[Case, Bus], Awaitable[Sequence[Finding]]]]
Result = tuple[str, Finding]
"""The name of a check, and one of its findings."""

LOCAL: Sequence[Check] = (
    ("configuration", local.configuration),
    ("http", local.http),
    ("versions", libraries.versions),
    ("kubernetes", kubernetes.kubernetes),
)
ON_BUS: Sequence[BusCheck] = (
    ("service", installation.service),
    ("policy", installation.policy),
    ("activation", installation.activation),
    ("systemd", installation.systemd),
    ("polkit", installation.polkit),
    ("gates", gates.gates),
    ("mdns", network.mdns),
    ("dns", dns.dns),
    ("proxy", proxy.proxy),
    ("koi", koi.koi),
)
AGENT: Sequence[BusCheck] = (
    ("agent", agent.identity),
    ("state", agent.state),
    ("reload", agent.reload),
    ("unit-files", agent.unit_files),
    ("backends", agent.backends),
    ("machines", machines.machines),
)
"""The checks that need no bus, a bus, and a running agent; a new check is a new row."""


async def examine(case: Case) -> list[Result]:
    """Run all checks that are possible; return their results in the order of the tables."""
    async with AsyncExitStack() as stack:
        results = []
        try:
            reached = await _connect(stack, case)
        except TimeoutError:
            results.append(("bus", failure(f"the {case.scope} bus does not answer")))
        except KoiError as error:
            results.append(("bus", failure(str(error))))
        else:
            text = f"the {case.scope} bus answers at {reached.link.address}"
            results.append(("bus", ok(text)))
            case = replace(case, bus=reached)
        if case.bus and not case.served:
            text = f"{NAME} has no owner on the {case.scope} bus"
            # With systemd, the check of the unit has the advice.
            advice = "" if SYSTEMD in case.bus.names else "koi-runtime run"
            results.append(("agent", failure(text, advice)))
        return results + await _run(case)


async def _connect(stack: AsyncExitStack, case: Case) -> Bus:
    """Connect to the bus until the stack is closed, and read the names on it."""
    async with timeout(case.timeout):
        link = await stack.enter_async_context(bus(case.scope))
        (names,) = await link.call(DRIVER, "ListNames")
        (activatable,) = await link.call(DRIVER, "ListActivatableNames")
        owner = ""
        if NAME in names:
            (owner,) = await link.call(DRIVER, "GetNameOwner", "s", (NAME,))
    return Bus(link=link, owner=owner, names=frozenset(names), activatable=frozenset(activatable))


async def _run(case: Case) -> list[Result]:
    """Run the checks at once; return their findings in the order of the tables."""
    checks = [(name, check(case)) for name, check in LOCAL]
    if case.bus:
        rows = [*ON_BUS, *(AGENT if case.bus.owner else ())]
        checks += [(name, check(case, case.bus)) for name, check in rows]
    async with asyncio.TaskGroup() as group:
        tasks = [
            group.create_task(_findings(check, case), name=f"check {name}")
            for name, check in checks
        ]
    names = [name for name, _ in checks]
    return [(name, one) for name, task in zip(names, tasks, strict=True) for one in task.result()]


async def _findings(check: Awaitable[Sequence[Finding]], case: Case) -> Sequence[Finding]:
    """Run one check; an error or a timeout becomes a failure."""
    try:
        async with timeout(case.timeout):
            return await check
    except TimeoutError:
        return [failure(f"no answer within {case.timeout:g} s")]
    except (KoiError, OSError) as error:
        return [failure(str(error))]
