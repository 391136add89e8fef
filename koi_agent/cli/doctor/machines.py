"""Check of what systemd-machined shows to the agent."""

from collections.abc import Sequence
from typing import Final

from koi_agent.cli import records
from koi_agent.cli.async_client import AsyncClient
from koi_agent.cli.doctor.findings import Bus, Case, Finding, ok, warning

BACKEND: Final = "machined"


async def machines(case: Case, bus: Bus) -> Sequence[Finding]:
    """Check that the agent may read the addresses of all machines; without any, return nothing."""
    instances = await AsyncClient(bus.link).instances()
    found = [one for one in instances if records.text(one, "Backend") == BACKEND]
    problems = {problem for one in found for problem in records.items(one, "Problems")}
    if problems:
        advice = case.reinstall if case.scope == "system" else ""  # a user's bus has no polkit
        return [warning(f"addresses: {problem}", advice) for problem in sorted(problems)]
    return [ok("the agent may read the addresses of all machines")] if found else []
